// Who may import whom; `npm run imports` checks it.
//
// Several rules let `import type` through. Code may name the type of a part that it must not reach for:
// the part itself arrives as an argument, handed over by src/app.ts.

/** The rooms whose parts app.ts makes and hands over. Each sees another one as types only. */
const PARTS = '^src/(audit|data|delivery|plugins|routes|sign-in|sso)/'
/** The files that make the parts and give them to each other. */
const WIRING = '^src/(app|fastify|jobs|parts|routes|server)\\.ts$|^src/(commands|tools)/'
const ENTRY_POINTS = '^src/(server|(commands|tools)/[^/]+)\\.ts$'
const GENERATED = '^src/generated/'

/** Packages that compute and touch nothing. Adding one here is a decision about core. */
const PURE_PACKAGES =
  '^node_modules/(otplib|@otplib/[^/]+|@scure/base|@zxcvbn-ts/language-common|ipaddr[.]js|typebox|uuid)/'
const DATABASE_PACKAGES = '^node_modules/(@prisma|prisma|pg|pglite-prisma-adapter)/'

const orTypeOnly = { dependencyTypesNot: ['type-only', 'type-import'] }

export default {
  forbidden: [
    {
      name: 'core-knows-nothing-of-the-project',
      comment:
        'Core is the rules themselves: values in, values out. What it imports, even as a type, becomes part of them.',
      severity: 'error',
      from: { path: '^src/core/' },
      to: { path: '^src/', pathNot: '^src/core/' }
    },
    {
      name: 'core-does-no-io',
      comment:
        'A decision that reads a file, a socket or a database can no longer be tested by a table of values. Hashing and bytes are computation.',
      severity: 'error',
      from: { path: '^src/core/' },
      to: { pathNot: ['^src/', '^(node:)?(crypto|buffer)$', PURE_PACKAGES] }
    },
    {
      name: 'crypto-sees-rules-alone',
      comment:
        'Code that holds keys must be quick to review. It gets the place where keys are stored as an argument. Its queue for hashes throws a problem when it is full.',
      severity: 'error',
      from: { path: '^src/crypto/' },
      to: { path: '^src/', pathNot: '^src/(crypto/|core/|wire/problem\\.ts$)' }
    },
    {
      name: 'wire-sees-core-alone',
      comment:
        'The vocabulary of HTTP is shared by everything that answers a request, so it must not depend on any of it.',
      severity: 'error',
      from: { path: '^src/wire/' },
      to: { path: '^src/', pathNot: '^src/(wire|core)/' }
    },
    {
      name: 'settings-see-rules-and-keys',
      comment:
        'Configuration is known before anything is opened. A setting that needs a database is not a setting.',
      severity: 'error',
      from: { path: '^src/settings/' },
      to: { path: '^src/', pathNot: '^src/(settings|core|crypto)/' }
    },
    {
      name: 'data-sees-core-alone',
      comment:
        'Guards in the where clause must not depend on HTTP or on configuration. Data gets values.',
      severity: 'error',
      from: { path: '^src/data/' },
      to: {
        path: '^src/',
        pathNot: ['^src/(data|core)/', GENERATED, '^src/crypto/ids\\.ts$'],
        ...orTypeOnly
      }
    },
    {
      name: 'only-data-knows-the-database',
      comment:
        'A query written elsewhere escapes the tenant key and the compare-and-set that data puts into every statement.',
      severity: 'error',
      from: { path: '^src/', pathNot: ['^src/data/', GENERATED] },
      to: { path: [GENERATED, DATABASE_PACKAGES] }
    },
    {
      name: 'the-engine-knows-no-subject',
      comment:
        'Connections, time limits and migrations serve every table. A query about users belongs in its own room.',
      severity: 'error',
      from: { path: '^src/data/engine/' },
      to: { path: '^src/data/', pathNot: '^src/data/engine/' }
    },
    {
      name: 'the-trail-knows-no-subject',
      comment:
        'Every act writes to the audit trail in its own transaction, so the trail must not depend on the acts.',
      severity: 'error',
      from: { path: '^src/data/trail/' },
      to: { path: '^src/data/', pathNot: '^src/data/(trail|engine)/', ...orTypeOnly }
    },
    {
      name: 'policy-is-read-by-users-and-sign-ins',
      comment:
        'What a policy demands is part of many guards. If the policy room saw users or sign-ins, each would decide for the other.',
      severity: 'error',
      from: { path: '^src/data/policy/' },
      to: { path: '^src/data/', pathNot: '^src/data/(policy|trail|engine)/', ...orTypeOnly }
    },
    {
      name: 'sign-in-data-is-the-hot-path',
      comment:
        'A sign-in reads its own few rows. What administration needs must not slow it down or change with it.',
      severity: 'error',
      from: { path: '^src/data/sign-in/' },
      to: { path: '^src/data/', pathNot: '^src/data/(sign-in|policy|trail|engine)/', ...orTypeOnly }
    },
    {
      name: 'stored-keys-stand-alone',
      comment:
        'Tables of keys are read before anything else is known, and re-sealed by a command. They depend on no other subject.',
      severity: 'error',
      from: { path: '^src/data/keys/' },
      to: { path: '^src/data/', pathNot: '^src/data/(keys|engine)/', ...orTypeOnly }
    },
    {
      name: 'only-app-wires',
      comment:
        'A part that is imported instead of handed over hides what a file can touch, and no test can replace it.',
      severity: 'error',
      from: { path: '^src/(audit|delivery|plugins|sign-in|sso)/' },
      to: { path: PARTS, pathNot: '^src/$1/', ...orTypeOnly }
    },
    {
      name: 'nothing-below-knows-routes',
      comment:
        'A part serves several routes. If it knew one of them, even by type, it would be a part of that route.',
      severity: 'error',
      from: { path: '^src/', pathNot: ['^src/routes/', WIRING] },
      to: { path: '^src/routes/' }
    },
    {
      name: 'routes-see-words-and-rules',
      comment:
        'The options of a route list everything that it can touch. It imports rules, generators and the vocabulary of HTTP; it names the rest as types.',
      severity: 'error',
      from: { path: '^src/routes/' },
      to: { path: '^src/', pathNot: '^src/(routes|core|crypto|wire)/', ...orTypeOnly }
    },
    {
      name: 'tools-stay-with-developers',
      comment:
        'Tools are not in the production tree. What production imported from them would be missing there.',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/tools/' },
      to: { path: '^src/tools/' }
    },
    {
      name: 'nothing-reaches-up',
      comment:
        'The composition root and the process edge see everything. Seen from below, they would make everything see everything.',
      severity: 'error',
      from: { path: '^src/', pathNot: WIRING },
      to: { path: WIRING }
    },
    {
      name: 'no-cycles',
      comment:
        'Two files that import each other are one file that is hard to read. They load in an order that no one chose.',
      severity: 'error',
      from: { path: '^src/', pathNot: GENERATED },
      to: { circular: true }
    },
    {
      name: 'no-dead-files',
      comment:
        'A file that no entry point reaches does nothing, and coverage would not notice that it is untested.',
      severity: 'error',
      from: { path: ENTRY_POINTS },
      to: { path: '^src/', pathNot: [ENTRY_POINTS, GENERATED], reachable: false }
    },
    {
      name: 'declared-production-dependencies',
      comment:
        'The image holds the packages that package.json lists under dependencies. A development package is missing there; a package that another one brought can disappear with it.',
      severity: 'error',
      from: { path: '^src/', pathNot: ['^src/tools/', GENERATED] },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'] }
    },
    {
      name: 'resolvable',
      comment: 'An import that resolves to nothing is a typing error or a missing dependency.',
      severity: 'error',
      from: { path: '^src/' },
      to: { couldNotResolve: true }
    }
  ],
  options: {
    doNotFollow: { path: ['^node_modules/', GENERATED] },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['node', 'import', 'types', 'default']
    }
  }
}
