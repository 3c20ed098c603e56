import type { Test } from 'tap'

/** The test of the file that the worker loads next. */
export const current: { t: Test | null } = { t: null }
