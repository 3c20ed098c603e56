// Work that many requests ask for at the same time, done for all of them by one statement: to the database, a statement
// for ten costs little more than one for one.
import DataLoader from 'dataloader'

/** Each costs the database some 50 µs: whoever is last among them waits a millisecond. */
const MAX = 20

/**
 * Answers the calls of one turn of the event loop by as few calls of `doAll` as `max` allows, which answers each input
 * in its place. A call that is alone waits for nobody. When `doAll` throws, all of its calls do.
 */
export function inBatches<Input, Output>(
  doAll: (inputs: readonly Input[]) => Promise<Output[]>,
  { max = MAX }: { max?: number } = {}
): (input: Input) => Promise<Output> {
  const loader = new DataLoader<Input, Output>(doAll, {
    cache: false,
    maxBatchSize: max,
    // After all sockets that were ready have been read.
    batchScheduleFn: (run) => setImmediate(run)
  })
  return (input) => loader.load(input)
}
