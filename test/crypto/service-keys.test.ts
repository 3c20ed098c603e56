import t from 'tap'
import {
  createSealer,
  type MasterKey,
  SERVICE_KEY_IDS,
  UnsealError
} from '../../src/crypto/sealing.ts'
import {
  findServiceKeyOf,
  generateServiceKey,
  openServiceKey
} from '../../src/crypto/service-keys.ts'

const OLD: MasterKey = { id: 'k1', key: Buffer.alloc(32, 1) }
const NEW: MasterKey = { id: 'k2', key: Buffer.alloc(32, 2) }

t.test('a new key has 32 random bytes and is sealed by the ring’s first key', async (t) => {
  const keys = Array.from({ length: 100 }, () => generateServiceKey([NEW, OLD], 'audit'))
  const opened = keys.map((key) => Buffer.from(openServiceKey([NEW], key)))
  t.ok(opened.every(({ length }) => length === 32))
  t.equal(new Set(opened.map((key) => key.toString('hex'))).size, 100)
})

t.test('a key is sealed to its use and opens for no other use', async (t) => {
  for (const id of SERVICE_KEY_IDS) {
    const { sealedKey } = generateServiceKey([OLD], id)
    for (const other of SERVICE_KEY_IDS) {
      const open = () => openServiceKey([OLD], { id: other, sealedKey })
      if (other === id) t.equal(open().length, 32)
      else t.throws(open, UnsealError, `${id} as ${other}`)
    }
  }
})

// The whole hash chain of the audit trail depends on this key, so its sealed form must never change.
t.test('known answer: the audit key of earlier releases still opens', async (t) => {
  const key = Buffer.alloc(32, 9)
  const sealedKey = createSealer([OLD], 'audit-key').seal(key, ['audit'])
  t.same(Buffer.from(openServiceKey([NEW, OLD], { id: 'audit', sealedKey })), key)
  t.throws(() => openServiceKey([NEW], { id: 'audit', sealedKey }), /MASTER_KEYS does not hold/)
})

t.test(
  'a wrong master key under a known id and an altered value have different errors',
  async (t) => {
    const keys = SERVICE_KEY_IDS.map((id) => generateServiceKey([OLD], id))
    const stored = {
      find: async (wanted: string) => keys.find(({ id }) => id === wanted) ?? null,
      findOrCreate: async (key: (typeof keys)[number]) => key
    }
    const wrong: MasterKey = { id: OLD.id, key: NEW.key }
    await t.rejects(findServiceKeyOf({ stored, masterKeys: [wrong] }, 'audit'), {
      message:
        'MASTER_KEYS holds another key under the id "k1" than the one that sealed the values in the database'
    })
    const [audit, ...others] = keys
    if (audit) audit.sealedKey = audit.sealedKey.replace('1.k1.', '1.k1.AAAA')
    t.equal(others.length, 3)
    await t.rejects(findServiceKeyOf({ stored, masterKeys: [OLD] }, 'audit'), /altered or moved/)
    await t.rejects(findServiceKeyOf({ stored, masterKeys: [NEW] }, 'audit'), /does not hold/)
  }
)
