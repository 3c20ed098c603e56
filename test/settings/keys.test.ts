// MASTER_KEYS and OPERATOR_KEY: their forms, and keys that are used twice or are not random.
import { randomBytes } from 'node:crypto'
import t from 'tap'
import {
  assertRejected,
  base64Key,
  COMPLETE,
  configOf,
  MASTER_KEY,
  OPERATOR_ID,
  OPERATOR_SECRET,
  refusal
} from './refusals.ts'

const zeros = Buffer.alloc(32).toString('base64')
const notRandom = Buffer.from('abcdefgh'.repeat(4)).toString('base64')

t.test('a key of the wrong form is rejected, and its error does not show it', async (t) => {
  assertRejected(t, {
    MASTER_KEYS: [
      MASTER_KEY,
      `:${MASTER_KEY}`,
      `k 1:${MASTER_KEY}`,
      `k.1:${MASTER_KEY}`,
      'k1:',
      'k1',
      `k1:${MASTER_KEY},`,
      `,k1:${MASTER_KEY}`,
      `k1:${MASTER_KEY};k2:${base64Key()}`,
      `k1:${MASTER_KEY.slice(0, -1)}`,
      `k1:${MASTER_KEY}=`,
      `k1:${MASTER_KEY}AAAA`,
      `k1:${randomBytes(16).toString('base64')}`,
      `k1:${randomBytes(33).toString('base64')}`,
      `k1:${randomBytes(32).toString('hex')}`,
      `k1:${Buffer.alloc(32, 0xfb).toString('base64url')}`,
      `k1:${zeros}`,
      `k1:${notRandom}`,
      `${'k'.repeat(33)}:${MASTER_KEY}`,
      `ключ:${MASTER_KEY}`,
      `k1:${MASTER_KEY},k1:${base64Key()}`,
      `k1:${MASTER_KEY},k2:${MASTER_KEY}`,
      `k1:${MASTER_KEY},k2:${zeros}`
    ],
    OPERATOR_KEY: [
      'secret',
      OPERATOR_SECRET,
      `tsk_${OPERATOR_ID}_${OPERATOR_SECRET}`,
      `tso_${OPERATOR_ID}_${OPERATOR_SECRET.slice(1)}`,
      `tso_${OPERATOR_ID}_`,
      `tso_${OPERATOR_ID}_${OPERATOR_SECRET}=`,
      ` tso_${OPERATOR_ID}_${OPERATOR_SECRET}`,
      `tso_${OPERATOR_ID}_${OPERATOR_SECRET}\n`,
      `tso_${OPERATOR_ID.toUpperCase()}_${OPERATOR_SECRET}`,
      `tso_${OPERATOR_ID}_${'a'.repeat(43)}`,
      `tso_${OPERATOR_ID}_${'0123456789abcde'.repeat(3).slice(0, 43)}`
    ]
  })
})

t.test('a master key made by hand is rejected only in production', async (t) => {
  const MASTER_KEYS = `k1:${zeros}`
  t.equal(refusal(t, 'MASTER_KEYS', { ...COMPLETE, MASTER_KEYS }), 'MASTER_KEYS must be random')
  t.doesNotThrow(() => configOf({ ...COMPLETE, NODE_ENV: 'test', MASTER_KEYS }))
})

t.test('the operator key must not be a master key', async (t) => {
  const secret = Buffer.from(MASTER_KEY, 'base64').toString('base64url')
  const OPERATOR_KEY = `tso_${OPERATOR_ID}_${secret}`
  const message = refusal(t, 'OPERATOR_KEY', { ...COMPLETE, OPERATOR_KEY })
  t.equal(message, 'OPERATOR_KEY must not be one of MASTER_KEYS')
})

t.test('a ring of master keys keeps its order', async (t) => {
  const [newest, older] = [base64Key(), base64Key()]
  const MASTER_KEYS = ` 2031-02:${newest} , k_1:${older}`
  const { masterKeys } = configOf({ ...COMPLETE, MASTER_KEYS })
  t.strictSame(
    masterKeys.map(({ id, key }) => `${id}:${Buffer.from(key).toString('base64')}`),
    [`2031-02:${newest}`, `k_1:${older}`]
  )
})
