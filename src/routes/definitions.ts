// Types that keep the options of a route apart from its handler, so that each route file starts with its contract.
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type {
  FastifyReply,
  FastifyRequest,
  FastifySchema,
  RawReplyDefaultExpression,
  RawRequestDefaultExpression,
  RawServerDefault,
  RouteGenericInterface,
  RouteShorthandOptions
} from 'fastify'

/** The options of a route. Its schema is the source of the types and of openapi.yaml. */
export interface RouteDefinition extends RouteShorthandOptions {
  schema: FastifySchema
}

/** The request of a route, with the types of its schema. */
export type RequestOf<Definition extends RouteDefinition> = FastifyRequest<
  RouteGenericInterface,
  RawServerDefault,
  RawRequestDefaultExpression,
  Definition['schema'],
  TypeBoxTypeProvider
>

/** The reply of a route, with the types of its schema. */
export type ReplyOf<Definition extends RouteDefinition> = FastifyReply<
  RouteGenericInterface,
  RawServerDefault,
  RawRequestDefaultExpression,
  RawReplyDefaultExpression,
  unknown,
  Definition['schema'],
  TypeBoxTypeProvider
>
