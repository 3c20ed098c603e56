/** The arguments with which a test starts Node to run sources: its own arguments (see .taprc), without those of tap. */
export const NODE_ARGS = process.execArgv.filter((arg) => !arg.includes('@tapjs'))

/** The same for built code, which needs no import before it. */
export const ENGINE_ARGS = NODE_ARGS.filter((arg) => !arg.startsWith('--import'))
