// Who may import whom; `npm run imports` checks it.
//
// Several rules let `import type` through. Code may name the type of a thing that it can't reach
// for: the thing itself arrives as an argument, handed over by src/app.ts.

/** The parts that app.ts puts together. */
const PARTS = '^src/(data|delivery|plugins|routes)/'
const ENTRY_POINTS = '^src/(server|commands/[^/]+)\\.ts$'
const WIRING = '^src/(app\\.ts$|server\\.ts$|commands/)'
const GENERATED = '^src/generated/'

/** Packages that compute and touch nothing. Adding one here is a decision about core. */
const PURE_PACKAGES = '^node_modules/(otplib|@otplib/[^/]+|@scure/base|typebox|uuid)/'
const DATABASE_PACKAGES = '^node_modules/(@prisma|prisma|pg|pglite-prisma-adapter)/'

const orTypeOnly = { dependencyTypesNot: ['type-only', 'type-import'] }

export default {
  forbidden: [
    {
      name: 'core-knows-nothing-of-the-project',
      comment:
        'Core is the rules themselves: values in, values out. What it imported, even as a type, would become part of them.',
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
      name: 'data-sees-core-alone',
      comment:
        'Guards in the where clause must not depend on HTTP or on configuration; they get values.',
      severity: 'error',
      from: { path: '^src/data/' },
      to: { path: '^src/', pathNot: ['^src/data/', '^src/core/', GENERATED] }
    },
    {
      name: 'only-data-knows-the-database',
      comment:
        'A query written elsewhere escapes the tenant key and the compare-and-set that data puts into every one.',
      severity: 'error',
      from: { path: '^src/', pathNot: ['^src/data/', GENERATED] },
      to: { path: [GENERATED, DATABASE_PACKAGES] }
    },
    {
      name: 'only-app-wires',
      comment:
        'A part that is imported instead of handed over hides what a file can touch, and stands in the way of a test that replaces it.',
      severity: 'error',
      from: { path: '^src/(delivery|plugins)/' },
      to: { path: PARTS, pathNot: '^src/$1/', ...orTypeOnly }
    },
    {
      name: 'words-are-leaves',
      comment:
        'Problems, schemas and configuration are shared by everything, so they may not depend on any of it.',
      severity: 'error',
      from: { path: '^src/[^/]+\\.ts$', pathNot: WIRING },
      to: { path: [PARTS, WIRING] }
    },
    {
      name: 'plugins-never-see-routes',
      comment:
        'A plugin serves several routes. Knowing one of them, even by type, would turn it into a part of that route.',
      severity: 'error',
      from: { path: '^src/plugins/' },
      to: { path: '^src/routes/' }
    },
    {
      name: 'routes-see-words-and-core',
      comment:
        'What a route can touch is listed in its plugin options. It imports the rules and the words; configuration and the rest it names as types.',
      severity: 'error',
      from: { path: '^src/routes/' },
      to: {
        path: '^src/',
        pathNot: ['^src/(routes|core)/', '^src/(schemas|problems)\\.ts$'],
        ...orTypeOnly
      }
    },
    {
      name: 'nothing-reaches-up',
      comment:
        'The composition root and the process edge see everything; seen from below, they would make everything see everything.',
      severity: 'error',
      from: { path: '^src/', pathNot: WIRING },
      to: { path: WIRING }
    },
    {
      name: 'no-cycles',
      comment:
        'Two files that import each other are one file that is hard to read, and load in an order that nobody chose.',
      severity: 'error',
      from: { path: '^src/', pathNot: GENERATED },
      to: { circular: true }
    },
    {
      name: 'no-dead-files',
      comment:
        'What neither the server nor a command can reach does nothing, and coverage would not notice that it is untested.',
      severity: 'error',
      from: { path: ENTRY_POINTS },
      to: { path: '^src/', pathNot: [ENTRY_POINTS, GENERATED], reachable: false }
    },
    {
      name: 'declared-production-dependencies',
      comment:
        'The image holds what package.json lists under dependencies. A development or a borrowed package is missing there, or goes away with the package that brought it.',
      severity: 'error',
      from: { path: '^src/', pathNot: GENERATED },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'] }
    },
    {
      name: 'resolvable',
      comment: 'An import that nothing answers to is a typing error or a missing dependency.',
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
