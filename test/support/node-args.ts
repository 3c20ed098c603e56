/** What a test starts Node with: what it was started with itself (see .taprc), without tap's own part. */
export const NODE_ARGS = process.execArgv.filter((arg) => !arg.includes('@tapjs'))
