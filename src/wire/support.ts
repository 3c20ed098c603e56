// The contact that helps users, as accounts, the policy and problems show it.
import { Type } from 'typebox'

const url = Type.Union([Type.String({ examples: ['https://acme.example/help'] }), Type.Null()])
const email = Type.Union([Type.String({ examples: ['help@acme.example'] }), Type.Null()])

export const Support = Type.Object(
  { url, email },
  { title: 'Support', description: 'Where users get help. At least one of the two is set.' }
)
