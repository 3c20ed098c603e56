// The proxies of docs/operate.md, with the configuration that the page shows.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { programOf } from './guides.ts'
import { freePort } from './processes.ts'
import { killed } from './server.ts'

/** The addresses of the replicas on the page. */
const ADDRESSES = ['10.0.0.11:3000', '10.0.0.12:3000']

export type ProxyName = 'nginx' | 'haproxy'

/** Starts a proxy in front of two replicas, and returns its URL. It ends with the test. */
export async function startProxy(
  t: Test,
  proxy: ProxyName,
  ports: readonly number[]
): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'twostep-proxy-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const port = await freePort()
  const file = join(folder, 'proxy.conf')
  await writeFile(file, await configurationOf(proxy, folder, port, ports))
  const args = proxy === 'nginx' ? ['-p', folder, '-c', file] : ['-q', '-db', '-f', file]
  const child = spawn(proxy, args, { stdio: ['ignore', 'ignore', 'inherit'] })
  t.teardown(() => ended(child))
  await isListening(port, child)
  return `http://127.0.0.1:${port}`
}

async function configurationOf(
  proxy: ProxyName,
  folder: string,
  port: number,
  ports: readonly number[]
): Promise<string> {
  let text = await programOf({ page: 'operate.md', language: proxy })
  for (const [index, address] of ADDRESSES.entries()) {
    if (!text.includes(address)) throw new Error(`docs/operate.md: ${proxy} without ${address}`)
    text = text.replaceAll(address, `127.0.0.1:${ports[index]}`)
  }
  if (proxy === 'haproxy') return text.replace('bind :80', `bind 127.0.0.1:${port}`)
  return `
    ${process.getuid?.() === 0 ? 'user root;' : ''}
    worker_processes 2;
    daemon off;
    pid ${folder}/pid;
    error_log stderr crit;
    events {}
    http {
      access_log off;
      client_body_temp_path ${folder}/body;
      proxy_temp_path ${folder}/proxy;
      fastcgi_temp_path ${folder}/fastcgi;
      uwsgi_temp_path ${folder}/uwsgi;
      scgi_temp_path ${folder}/scgi;
      ${text.replace('listen 80', `listen 127.0.0.1:${port}`)}
    }`
}

/** The first process of nginx ends its workers only if it gets a signal that it can handle. */
async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGTERM')
  const isGone = await Promise.race([gone.then(() => true), sleep(5000, false)])
  if (!isGone) await killed(child)
}

async function isListening(port: number, child: ChildProcess): Promise<void> {
  while (true) {
    if (child.exitCode !== null) throw new Error(`the proxy ended with ${child.exitCode}`)
    const socket = connect(port, '127.0.0.1')
    const isUp = await new Promise((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    })
    socket.destroy()
    if (isUp) return
    await sleep(20)
  }
}
