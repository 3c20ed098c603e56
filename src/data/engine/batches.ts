// Batches work that many requests need at the same time into one statement. A statement for ten requests costs the
// database little more than a statement for one.
import DataLoader from 'dataloader'

/** Each input costs the database about 50 µs, so the last input of a batch waits one millisecond. */
const MAX = 20

/**
 * Returns a function whose calls within one turn of the event loop share as few calls of `doAll` as `max` allows.
 * `doAll` resolves to one output for each input, in the order of the inputs. A single call does not wait for others. If
 * `doAll` throws, all calls in its batch throw.
 */
export function inBatches<Input, Output>(
  doAll: (inputs: readonly Input[]) => Promise<Output[]>,
  { max = MAX }: { max?: number } = {}
): (input: Input) => Promise<Output> {
  const loader = new DataLoader<Input, Output>(doAll, {
    cache: false,
    maxBatchSize: max,
    // Runs after the event loop has read all sockets that were ready.
    batchScheduleFn: (run) => setImmediate(run)
  })
  return (input) => loader.load(input)
}
