// Stands in for `tap` in a test file that shares its process with others (see ../typescript.mjs): the file's own test
// instead of the process's, so that its name, its teardowns and its failures stay together. Evaluated once for each file.
import { current } from './current.ts'

export const { t } = current
export const test = t.test.bind(t)
export default t
