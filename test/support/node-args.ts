/** What a test starts Node with to run sources: what it was started with itself (see .taprc), without tap's own part. */
export const NODE_ARGS = process.execArgv.filter((arg) => !arg.includes('@tapjs'))

/** The same for what is built, which needs nothing imported before it. */
export const ENGINE_ARGS = NODE_ARGS.filter((arg) => !arg.startsWith('--import'))
