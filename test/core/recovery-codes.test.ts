import { deepStrictEqual } from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { normalizeRecoveryCode, RECOVERY_CODES_COUNT } from '../../src/core/recovery-codes.ts'

const CODE = 'A1B0-C1D2-E3F4-G5H6-J7K8-M9N0'

t.test('a user gets ten recovery codes', async (t) => {
  t.equal(RECOVERY_CODES_COUNT, 10)
})

t.test('case, spaces and hyphens are ignored, and o, i, l are read as 0, 1, 1', async (t) => {
  for (const typed of [
    ...[CODE, CODE.toLowerCase(), CODE.replaceAll('-', ''), CODE.replaceAll('-', ' ')],
    ...[` ${CODE}\n`, CODE.replaceAll('-', '--'), CODE.replaceAll('-', ' - '), `-${CODE}-`],
    ...['AIBO-CLD2-E3F4-G5H6-J7K8-M9NO', 'aib0 cld2-e3f4g5h6j7k8m9no'],
    ...[CODE.replaceAll('-', '\u00a0'), CODE.replaceAll('-', '\t')]
  ]) {
    t.equal(normalizeRecoveryCode(typed), 'A1B0C1D2E3F4G5H6J7K8M9N0', JSON.stringify(typed))
  }
  for (const [typed, normalized] of [
    ['oOiIlL', '001111'],
    ['', ''],
    [' - ', ''],
    ['u', 'U'],
    ['A1B0_C1', 'A1B0_C1'],
    ['\0', '\0']
  ] as const) {
    t.equal(normalizeRecoveryCode(typed), normalized)
  }
})

t.test('property: a second normalisation changes nothing, and no text throws', async () => {
  fc.assert(
    fc.property(fc.string(), (typed) => {
      const once = normalizeRecoveryCode(typed)
      deepStrictEqual(normalizeRecoveryCode(once), once)
    })
  )
})
