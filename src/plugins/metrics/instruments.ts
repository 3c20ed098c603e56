// Every metric of ours, declared once: name, meaning, labels. docs/metrics.md lists the same, and a test compares them.
// A label takes one of a few words that stand in the code: never what a caller has chosen, and nothing of a person.
import { Counter, Gauge, Histogram, type Registry } from 'prom-client'

/** From a cached document to beyond the deadline of a request (plugins/deadline). */
const DURATION_BUCKETS_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]

export type Instruments = ReturnType<typeof createInstruments>

/** Makes them all, on a registry of their own: two services in one process count apart. */
export function createInstruments(registry: Registry) {
  const registers = [registry]
  return {
    info: new Gauge({
      name: 'twostep_info',
      help: 'Always 1; the version that runs.',
      labelNames: ['version'],
      registers
    }),
    requestDuration: new Histogram({
      name: 'twostep_http_request_duration_seconds',
      help: 'Time from the arrival of a request to its answer.',
      labelNames: ['method', 'route', 'status'],
      buckets: DURATION_BUCKETS_SECONDS,
      registers
    }),
    signInSteps: new Counter({
      name: 'twostep_sign_in_steps_total',
      help: 'Steps of sign-ins that were answered, by what they led to and why.',
      labelNames: ['step', 'outcome', 'reason'],
      registers
    }),
    codeVerdicts: new Counter({
      name: 'twostep_code_verdicts_total',
      help: 'Codes and recovery codes that were entered, by verdict.',
      labelNames: ['path', 'verdict'],
      registers
    }),
    pathClosings: new Counter({
      name: 'twostep_code_path_closings_total',
      help: 'Times that wrong guesses locked or disabled a path of a user.',
      labelNames: ['path', 'state'],
      registers
    }),
    acts: new Counter({
      name: 'twostep_acts_total',
      help: 'Acts that were done, refused, or failed for a fault of ours.',
      labelNames: ['act', 'outcome', 'reason'],
      registers
    }),
    limitHits: new Counter({
      name: 'twostep_limit_hits_total',
      help: 'Requests that a limit refused.',
      labelNames: ['limit'],
      registers
    }),
    passwordHashes: new Gauge({
      name: 'twostep_password_hashes',
      help: 'Passwords that are being hashed, and that wait for it.',
      labelNames: ['state'],
      registers
    }),
    passwordHashesShed: new Counter({
      name: 'twostep_password_hashes_shed_total',
      help: 'Passwords that were turned away because too many waited.',
      registers
    }),
    connections: new Gauge({
      name: 'twostep_database_connections',
      help: 'Connections of the pool to the database server.',
      labelNames: ['state'],
      registers
    }),
    connectionsMax: new Gauge({
      name: 'twostep_database_connections_max',
      help: 'Connections that the pool may have.',
      registers
    }),
    connectionsWaiting: new Gauge({
      name: 'twostep_database_connections_waiting',
      help: 'Queries that wait for a connection.',
      registers
    }),
    dependencyUp: new Gauge({
      name: 'twostep_dependency_up',
      help: 'Whether a dependency answered the scrape in time.',
      labelNames: ['dependency'],
      registers
    }),
    mails: new Gauge({
      name: 'twostep_mails',
      help: 'Mails in the outbox of the whole deployment.',
      labelNames: ['state'],
      registers
    }),
    oldestMail: new Gauge({
      name: 'twostep_mail_oldest_waiting_seconds',
      help: 'How long ago happened what the oldest mail that waits tells about.',
      registers
    }),
    unsealedEvents: new Gauge({
      name: 'twostep_audit_events_unsealed',
      help: 'Audit events of the whole deployment that are not chained yet.',
      registers
    }),
    oldestUnsealedEvent: new Gauge({
      name: 'twostep_audit_oldest_unsealed_seconds',
      help: 'How long the oldest of them has waited.',
      registers
    })
  }
}
