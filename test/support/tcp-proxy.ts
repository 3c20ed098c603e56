import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { Test } from 'tap'

export interface TcpProxy {
  port: number
  /** Delays all data that passes from now on, in both directions. */
  delayBy(ms: number): void
  /** Connects new clients to this port. Open connections do not change. */
  leadTo(port: number): void
  /** Resets every open connection. */
  cut(): void
}

/** Opens a proxy to a server. The test can delay the data, redirect new connections, and reset open ones. */
export async function createTcpProxy(t: Test, towards: number): Promise<TcpProxy> {
  let target = towards
  let delayMs = 0
  const open = new Set<Socket>()

  function pass(from: Socket, to: Socket): void {
    open.add(from)
    const later = (act: () => void) => {
      if (delayMs > 0) setTimeout(act, delayMs).unref()
      else act()
    }
    from.on('data', (data) => later(() => to.writable && to.write(data)))
    from.on('end', () => later(() => to.end()))
    from.on('error', () => to.destroy())
    from.on('close', () => {
      open.delete(from)
      later(() => to.destroy())
    })
  }
  function cut(): void {
    for (const socket of open) socket.resetAndDestroy()
  }

  const server = createServer((client) => {
    const upstream = connect(target, '127.0.0.1')
    pass(client, upstream)
    pass(upstream, client)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    cut()
  })
  return {
    port: (server.address() as AddressInfo).port,
    delayBy: (ms) => {
      delayMs = ms
    },
    leadTo: (port) => {
      target = port
    },
    cut
  }
}
