// The forms of MASTER_KEYS and OPERATOR_KEY, and the checks that a key is random and used for one thing.
import { hashBearerSecret, parseBearerKey } from '../core/bearer-keys.ts'
import type { MasterKey, MasterKeys } from '../crypto/sealing.ts'
import { ConfigError } from './config-error.ts'

const MASTER_KEY_BYTES = 32

/** OPERATOR_KEY without its secret, of which only the hash is kept. */
export interface OperatorKey {
  readonly id: string
  readonly secretHash: Uint8Array
}

/** Parses `id:key[,id:key]`, newest first. Throws `ConfigError`. */
export function parseMasterKeys(text: string, { isProduction }: { isProduction: boolean }) {
  const [newest, ...older] = text.split(',').map(parseMasterKey)
  if (!newest) throw new ConfigError('MASTER_KEYS must list at least one key')
  const ring: MasterKeys = [newest, ...older]
  if (new Set(ring.map(({ id }) => id)).size < ring.length) {
    throw new ConfigError('MASTER_KEYS must not use a key id twice')
  }
  if (new Set(ring.map(({ key }) => Buffer.from(key).toString('hex'))).size < ring.length) {
    throw new ConfigError('MASTER_KEYS must not list the same key twice')
  }
  // Random bytes almost never repeat this often. A key made by hand ("aaaa…", zeros) does.
  const isMadeByHand = ring.some(({ key }) => new Set(key).size < MASTER_KEY_BYTES / 2)
  if (isProduction && isMadeByHand) throw new ConfigError('MASTER_KEYS must be random')
  return ring
}

function parseMasterKey(text: string): MasterKey {
  const [, id, encoded] = /^\s*([A-Za-z0-9_-]{1,32}):([A-Za-z0-9+/]+={0,2})\s*$/.exec(text) ?? []
  if (id === undefined || encoded === undefined) {
    throw new ConfigError('MASTER_KEYS must be id:key[,id:key], each key in padded standard base64')
  }
  const key = Buffer.from(encoded, 'base64')
  if (key.length !== MASTER_KEY_BYTES || key.toString('base64') !== encoded) {
    throw new ConfigError(
      `MASTER_KEYS must hold keys of ${MASTER_KEY_BYTES} bytes in padded base64`
    )
  }
  return { id, key }
}

/** Parses `tso_<id>_<secret>` and keeps only the hash of the secret. Throws `ConfigError`. */
export function parseOperatorKey(
  text: string,
  { isProduction, masterKeys }: { isProduction: boolean; masterKeys: MasterKeys }
): OperatorKey {
  const key = parseBearerKey(text)
  if (key?.kind !== 'operator') {
    throw new ConfigError(
      'OPERATOR_KEY must be tso_<12 characters a-z0-9>_<43 characters base64url>'
    )
  }
  if (isProduction && new Set(key.secret).size < 16) {
    throw new ConfigError('OPERATOR_KEY must be random')
  }
  // The operator sends this key over the network with every request. A master key must never leave the service.
  if (masterKeys.some((master) => Buffer.from(key.secret, 'base64url').equals(master.key))) {
    throw new ConfigError('OPERATOR_KEY must not be one of MASTER_KEYS')
  }
  return Object.freeze({ id: key.id, secretHash: hashBearerSecret(key.secret) })
}
