// Checks that the table of metrics, the alert rules and the dashboard name only existing metrics and labels.
import { spawnSync } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { createInstruments } from '../../src/plugins/metrics/instruments.ts'
import { createRegistry } from '../../src/plugins/metrics/registry.ts'
import { withBinaries } from '../support/binaries.ts'

const docs = new URL('../../docs/', import.meta.url)
const read = (path: string) => readFile(new URL(path, docs), 'utf8')

interface Known {
  name: string
  type: string
  labelNames: string[]
}

const registry = createRegistry()
const ours = Object.values(createInstruments(registry)) as unknown as Known[]
const known = registry.getMetricsAsArray() as unknown as Known[]
/** The suffixes under which Prometheus stores a histogram. */
const PARTS_OF_HISTOGRAM = /_(bucket|sum|count)$/
/** Prometheus adds these labels to every sample. */
const LABELS_OF_SCRAPES = ['job', 'instance']

t.test('docs/metrics.md lists exactly our metrics, with type and labels', async (t) => {
  const rows = (await read('metrics.md'))
    .split('\n')
    .filter((line) => line.startsWith('| `twostep_'))
  const listed = rows.map((row) => {
    const [, name = '', type, labels = ''] = row.split('|').map((cell) => cell.trim())
    const labelNames = Array.from(labels.matchAll(/`(\w+)`/g), ([, label]) => label)
    return { name: name.replaceAll('`', ''), type, labelNames }
  })
  t.same(
    listed,
    ours.map(({ name, type, labelNames }) => ({ name, type, labelNames }))
  )
})

t.test(
  'every alert rule has known metrics, a summary, and a section in docs/operate.md',
  async (t) => {
    const { groups } = parse(await read('alerts.yaml')) as {
      groups: { rules: { alert: string; expr: string; annotations: Record<string, string> }[] }[]
    }
    const rules = groups.flatMap((group) => group.rules)
    const headings = Array.from(
      (await read('operate.md')).matchAll(/^### (\w+)$/gm),
      ([, heading]) => heading
    )
    t.same(
      rules.map(({ alert }) => alert),
      headings.filter((heading) => heading?.startsWith('Twostep'))
    )
    for (const { alert, expr, annotations } of rules) {
      checkQuery(t, expr)
      t.match(annotations['summary'], /\.$/, alert)
      t.equal(annotations['runbook'], `docs/operate.md#${alert.toLowerCase()}`)
    }
  }
)

t.test(
  'the dashboard shows all our metrics, on a data source that the reader selects',
  async (t) => {
    const dashboard = JSON.parse(await read('grafana/twostep.json')) as {
      schemaVersion: number
      panels: { datasource?: { uid: string }; targets?: { expr: string }[] }[]
    }
    t.ok(dashboard.schemaVersion >= 39)
    const targets = dashboard.panels.flatMap(({ targets = [] }) => targets)
    t.ok(targets.length > 20)
    for (const { expr } of targets) checkQuery(t, expr)
    const shown = targets.map(({ expr }) => expr).join(' ')
    t.same(
      ours.filter(({ name }) => !shown.includes(name)).map(({ name }) => name),
      [],
      'all our metrics are shown'
    )
    for (const { datasource } of dashboard.panels) {
      if (datasource) t.match(datasource.uid, /^\$\{datasource\}$/)
    }
  }
)

/** Checks that every metric of a query exists and has the labels that the query selects or groups by. */
function checkQuery(t: Test, expr: string): void {
  const names = expr.match(/\b(twostep|nodejs|process)_\w+/g) ?? []
  t.ok(names.length > 0, expr)
  const metrics = names.map((name) => metricOf(name))
  t.notOk(metrics.includes(undefined), expr)
  const labels = [
    ...LABELS_OF_SCRAPES,
    ...metrics.flatMap((metric) => metric?.labelNames ?? []),
    ...(names.some((name) => name.endsWith('_bucket')) ? ['le'] : [])
  ]
  t.same(
    labelsIn(expr).filter((label) => !labels.includes(label)),
    [],
    expr
  )
}

function metricOf(name: string): Known | undefined {
  return known.find((metric) => {
    if (metric.type !== 'histogram') return metric.name === name
    return PARTS_OF_HISTOGRAM.test(name) && metric.name === name.replace(PARTS_OF_HISTOGRAM, '')
  })
}

function labelsIn(expr: string): string[] {
  const selected = Array.from(
    expr.matchAll(/(\w+)\s*(?:=~|!~|!=|=)\s*"/g),
    ([, label = '']) => label
  )
  const grouped = Array.from(expr.matchAll(/\b(?:by|on)\s*\(([^)]*)\)/g), ([, list = '']) =>
    list.split(',').map((label) => label.trim())
  )
  return [...selected, ...grouped.flat()]
}

t.test('every alert rule passes its tests', withBinaries('promtool'), async (t) => {
  const tests = fileURLToPath(new URL('alerts.test.yaml', docs))
  const { status, stdout, stderr } = spawnSync('promtool', ['test', 'rules', tests], {
    encoding: 'utf8'
  })
  t.equal(status, 0, `${stdout}${stderr}`)
  const rules = (await read('alerts.yaml')).match(/(?<=- alert: )\w+/g)
  const tested = (await read('alerts.test.yaml')).match(/(?<=- name: )Twostep\w+/g)
  t.same(tested, rules, 'each rule has a case in which it fires')
})
