import type { Test } from 'tap'
import { type AppSettings, startApp } from './app.ts'
import { freePort } from './processes.ts'

export interface Sample {
  name: string
  labels: Record<string, string>
  value: number
}

/** Returns the samples of `GET /metrics`, in the order of their lines. */
export async function scrape(port: number): Promise<Sample[]> {
  const answer = await fetch(`http://127.0.0.1:${port}/metrics`)
  return samplesOf(await answer.text())
}

/** Reads the Prometheus text format, version 0.0.4. */
function samplesOf(text: string): Sample[] {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return lines.map((line) => {
    const [, name = '', labels = '', value = ''] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? []
    if (name === '') throw new Error(`not a sample: ${line}`)
    const pairs = labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)
    return {
      name,
      labels: Object.fromEntries(Array.from(pairs, ([, label = '', text = '']) => [label, text])),
      value: value === 'Nan' ? Number.NaN : Number(value)
    }
  })
}

/** Starts the service with its metrics. `metric` returns the value of one, or undefined if none has these labels. */
export async function startCountingApp(t: Test, { env, ...settings }: AppSettings = {}) {
  const port = await freePort()
  const service = await startApp(t, { ...settings, env: { ...env, METRICS_PORT: String(port) } })
  async function metric(name: string, labels: Record<string, string> = {}) {
    const asked = Object.entries(labels)
    const sample = (await scrape(port)).find(
      (one) => one.name === name && asked.every(([label, text]) => one.labels[label] === text)
    )
    return sample?.value
  }
  return { ...service, port, metric }
}
