// The table of the metrics, the alert rules and the dashboard name metrics and labels that there are.
import { readFile } from 'node:fs/promises'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { createInstruments } from '../../src/plugins/metrics/instruments.ts'
import { createRegistry } from '../../src/plugins/metrics/registry.ts'

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
/** What a histogram of the name is asked for by, and what every sample has from the scrape. */
const PARTS_OF_HISTOGRAM = /_(bucket|sum|count)$/
const LABELS_OF_SCRAPES = ['job', 'instance']

t.test(
  'docs/metrics.md lists every metric of ours with type and labels, and no other',
  async (t) => {
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
  }
)

t.test('the alert rules: known metrics, a summary, and what to do', async (t) => {
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
    isAnswerable(t, expr)
    t.match(annotations['summary'], /\.$/, alert)
    t.equal(annotations['runbook'], `docs/operate.md#${alert.toLowerCase()}`)
  }
})

t.test('the dashboard: known metrics, on a data source of the reader’s choice', async (t) => {
  const dashboard = JSON.parse(await read('grafana/twostep.json')) as {
    schemaVersion: number
    panels: { datasource?: { uid: string }; targets?: { expr: string }[] }[]
  }
  t.ok(dashboard.schemaVersion >= 39)
  const targets = dashboard.panels.flatMap(({ targets = [] }) => targets)
  t.ok(targets.length > 20)
  for (const { expr } of targets) isAnswerable(t, expr)
  const shown = targets.map(({ expr }) => expr).join(' ')
  t.same(
    ours.filter(({ name }) => !shown.includes(name)).map(({ name }) => name),
    [],
    'and every metric of ours is shown'
  )
  for (const { datasource } of dashboard.panels) {
    if (datasource) t.match(datasource.uid, /^\$\{datasource\}$/)
  }
})

/** That every metric of a query exists, and has the labels that the query selects or groups by. */
function isAnswerable(t: Test, expr: string): void {
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
