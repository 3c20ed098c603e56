// Declares every metric of the service: name, meaning, labels. docs/metrics.md lists the same, and a test compares the two.
// The value of a label is one of a few words in the code, never a text from a caller and never personal data.
import { Counter, Gauge, Histogram, type Registry } from 'prom-client'

/** From the time of a cached document to more than the deadline of a request (plugins/deadline). */
const DURATION_BUCKETS_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]

export type Instruments = ReturnType<typeof createInstruments>

/** Creates all metrics on their own registry, so that two services in one process count separately. */
export function createInstruments(registry: Registry) {
  const registers = [registry]
  return {
    ...requestInstruments(registers),
    ...loadInstruments(registers),
    ...backlogInstruments(registers)
  }
}

function requestInstruments(registers: Registry[]) {
  return {
    info: new Gauge({
      name: 'twostep_info',
      help: 'Always 1; the label is the running version.',
      labelNames: ['version'],
      registers
    }),
    requestDuration: new Histogram({
      name: 'twostep_http_request_duration_seconds',
      help: 'Time from the arrival of a request to its response.',
      labelNames: ['method', 'route', 'status'],
      buckets: DURATION_BUCKETS_SECONDS,
      registers
    }),
    faults: new Counter({
      name: 'twostep_http_faults_total',
      help: 'Requests that got 500 because of a defect.',
      labelNames: ['method', 'route'],
      registers
    }),
    signInSteps: new Counter({
      name: 'twostep_sign_in_steps_total',
      help: 'Steps of sign-ins, by outcome and reason.',
      labelNames: ['step', 'outcome', 'reason'],
      registers
    }),
    codeVerdicts: new Counter({
      name: 'twostep_code_verdicts_total',
      help: 'Verdicts on codes and recovery codes that users entered.',
      labelNames: ['path', 'verdict'],
      registers
    }),
    pathClosings: new Counter({
      name: 'twostep_code_path_closings_total',
      help: 'How often wrong guesses locked or disabled the codes or recovery codes of a user.',
      labelNames: ['path', 'state'],
      registers
    }),
    acts: new Counter({
      name: 'twostep_acts_total',
      help: 'Acts that succeeded, were refused, or failed because of an internal error.',
      labelNames: ['act', 'outcome', 'reason'],
      registers
    }),
    limitHits: new Counter({
      name: 'twostep_limit_hits_total',
      help: 'Requests that a limit refused.',
      labelNames: ['limit'],
      registers
    })
  }
}

function loadInstruments(registers: Registry[]) {
  return {
    passwordHashes: new Gauge({
      name: 'twostep_password_hashes',
      help: 'Passwords that are being hashed or wait in the queue.',
      labelNames: ['state'],
      registers
    }),
    passwordHashesShed: new Counter({
      name: 'twostep_password_hashes_shed_total',
      help: 'Passwords that were rejected because the queue was full.',
      registers
    }),
    requestsInTurn: new Gauge({
      name: 'twostep_requests_in_turn',
      help: 'Requests that run, or wait for their turn, by the queue.',
      labelNames: ['queue', 'state'],
      registers
    }),
    requestsShed: new Counter({
      name: 'twostep_requests_shed_total',
      help: 'Requests that were rejected because too many waited for their turn.',
      labelNames: ['queue'],
      registers
    }),
    connections: new Gauge({
      name: 'twostep_database_connections',
      help: 'Database connections in the pool.',
      labelNames: ['state'],
      registers
    }),
    connectionsMax: new Gauge({
      name: 'twostep_database_connections_max',
      help: 'Maximum number of connections in the pool.',
      registers
    }),
    connectionsWaiting: new Gauge({
      name: 'twostep_database_connections_waiting',
      help: 'Queries that wait for a connection.',
      registers
    }),
    dependencyUp: new Gauge({
      name: 'twostep_dependency_up',
      help: 'Whether the dependency responded within the time of the scrape.',
      labelNames: ['dependency'],
      registers
    })
  }
}

/** Counts that every replica reads from the database, and that are therefore equal on all of them. */
function backlogInstruments(registers: Registry[]) {
  return {
    mails: new Gauge({
      name: 'twostep_mails',
      help: 'Mails in the outbox of the whole deployment.',
      labelNames: ['state'],
      registers
    }),
    oldestMail: new Gauge({
      name: 'twostep_mail_oldest_waiting_seconds',
      help: 'Age of the oldest waiting mail, counted from the event that it reports.',
      registers
    }),
    unchainedEvents: new Gauge({
      name: 'twostep_audit_events_unsealed',
      help: 'Audit events of the whole deployment that are not linked into the hash chain yet.',
      registers
    }),
    oldestUnchainedEvent: new Gauge({
      name: 'twostep_audit_oldest_unsealed_seconds',
      help: 'How long the oldest audit event without a link has waited for it.',
      registers
    })
  }
}
