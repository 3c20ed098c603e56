// The metrics for Prometheus, from the service as production builds it.
import { request } from 'node:http'
import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { ON_SERVER, startApp, UNKNOWN } from '../support/app.ts'
import { openTestDatabase } from '../support/database.ts'
import { scrape, startCountingApp } from '../support/scrape.ts'

const database = await openTestDatabase(t)
const { cache } = createRequire(import.meta.url)
const isLoaded = (name: string) => {
  return Object.keys(cache).some((path) => path.includes(`/node_modules/${name}/`))
}

t.test('responses are counted with their reasons', async (t) => {
  await startApp(t, { database })
  t.notOk(isLoaded('prom-client'), 'a service without metrics does not load the package')
  const service = await startCountingApp(t, { database })
  t.ok(isLoaded('prom-client'))
  const { call, enrolledUser, login, metric, recover, verify } = service

  await t.test('sign-ins are counted by step, outcome and reason', async (t) => {
    const user = await enrolledUser()
    await login({ ...user, password: 'not the right one' })
    await login(user)
    const stepToken = await user.stepToken()
    await verify(stepToken, '000000')
    await verify(stepToken, user.nextCode())
    await recover(await user.stepToken(), user.recoveryCodes[0] ?? '')
    const steps = [
      ['password', 'refused', 'invalid-credentials', 1],
      ['password', 'verification_required', 'user_enabled', 1],
      ['assertion', 'authenticated', 'not_required', 1],
      ['assertion', 'verification_required', 'user_enabled', 2],
      ['enrollment', 'authenticated', 'enrolled', 1],
      ['code', 'refused', 'code-rejected', 1],
      ['code', 'authenticated', 'code_verified', 1],
      ['recovery_code', 'authenticated', 'recovery_code_verified', 1]
    ] as const
    for (const [step, outcome, reason, count] of steps) {
      const labels = { step, outcome, reason }
      t.equal(await metric('twostep_sign_in_steps_total', labels), count, `${step} ${reason}`)
    }
    const verdicts = [
      ['code', 'accepted', 1],
      ['code', 'rejected', 1],
      ['code', 'not_judged', 0],
      ['recovery_code', 'accepted', 1],
      ['enrollment', 'accepted', 1]
    ] as const
    for (const [path, verdict, count] of verdicts) {
      t.equal(await metric('twostep_code_verdicts_total', { path, verdict }), count, verdict)
    }
  })

  await t.test('a lock is counted once, and codes not judged are counted', async (t) => {
    const user = await enrolledUser()
    const locked = () =>
      metric('twostep_code_path_closings_total', { path: 'code', state: 'locked' })
    const before = await metric('twostep_code_verdicts_total', {
      path: 'code',
      verdict: 'rejected'
    })
    for (const stepToken of [await user.stepToken(), await user.stepToken()]) {
      for (let guess = 0; guess < 5; guess++) await verify(stepToken, '000000')
    }
    t.equal(await locked(), 1)
    const late = await user.stepToken()
    await verify(late, user.codeAt(service.clock.now()))
    service.clock.advance({ seconds: 901 })
    await verify(await user.stepToken(), '000000')
    t.equal(await locked(), 1, 'an expired lock is not counted again')
    const verdicts = (verdict: string) =>
      metric('twostep_code_verdicts_total', { path: 'code', verdict })
    t.equal(await verdicts('not_judged'), 1)
    t.equal(await verdicts('rejected'), (before ?? 0) + 11)
  })

  await t.test('acts are counted, with the problem code of a refusal', async (t) => {
    const user = await enrolledUser()
    const { apiKey } = user.account
    const readOnly = await service.createApiKey(user.account, 'users:read')
    await call('POST', `/v1/users/${user.id}/reset`, { as: apiKey })
    await call('POST', `/v1/users/${user.id}/reset`, { as: readOnly })
    const resets = (labels: object) =>
      metric('twostep_acts_total', { act: 'user.reset', ...labels })
    t.equal(await resets({ outcome: 'succeeded', reason: '' }), 1)
    t.equal(await resets({ outcome: 'refused', reason: 'insufficient-scope' }), 1)
  })

  await t.test('waiting work and available dependencies are measured', async (t) => {
    t.equal(await metric('twostep_dependency_up', { dependency: 'database' }), 1)
    t.equal(await metric('twostep_password_hashes', { state: 'waiting' }), 0)
    for (const queue of ['users', 'accounts', 'second_steps']) {
      t.equal(await metric('twostep_requests_in_turn', { queue, state: 'running' }), 0)
      t.equal(await metric('twostep_requests_shed_total', { queue }), 0)
    }
    t.type(await metric('twostep_mails', { state: 'waiting' }), 'number')
    const pool = await metric('twostep_database_connections_max')
    t.equal(pool, service.database.engine === 'postgresql' ? 10 : 0)
  })

  await t.test('labels contain no text from requests', async (t) => {
    const user = await enrolledUser()
    await login(user)
    const seriesOf = async () => (await scrape(service.port)).map(({ labels }) => labels)
    const askForAll = async (word: string) => {
      const { app } = service
      await app.inject({ method: 'PROPFIND' as 'GET', url: `/${word}` })
      await app.inject({ method: 'GET', url: `/v1/${word}?${word}=${word}` })
      await app.inject({ method: 'GET', url: '/v1/users/%ff' })
      await login({ account: { ...user.account, slug: word }, email: word, password: word })
      const body = { account: word, email: `${word}@example.com`, password: 'long enough' }
      await call('POST', '/v1/login', { body })
      const as = user.account.apiKey
      await call('GET', `/v1/users/${UNKNOWN}?q=${word}`, { as })
      await call('DELETE', `/v1/users/${word}`, { as })
      await call('GET', `/v1/users?q=${word}`, { as, headers: { 'x-request-id': word } })
    }
    await askForAll('word-one')
    const before = await seriesOf()
    await askForAll('word-two')
    const after = await seriesOf()
    t.equal(after.length, before.length, 'another word adds no series')
    const text = JSON.stringify(after)
    const ofPeople = [user.id, user.account.id, user.account.slug, user.email, '127.0.0.1']
    for (const word of ['word-', '@', UNKNOWN, ...ofPeople]) t.notOk(text.includes(word), word)
    t.match(text, '"route":"unknown"')
    t.match(text, '"route":"/v1/users/:userId"')
  })
})

t.test('500: each counter of an alert exists before its first event', async (t) => {
  const service = await startCountingApp(t, { database })
  const faults = async () =>
    (await scrape(service.port)).filter(({ name }) => name === 'twostep_http_faults_total')
  const before = await faults()
  t.ok(before.every(({ value }) => value === 0))
  const counted = new Set(before.map(({ labels }) => `${labels['method']} ${labels['route']}`))
  const { paths } = (await service.call('GET', '/openapi.json')).json()
  const routes = Object.entries<object>(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map(
      (method) => `${method.toUpperCase()} ${path.replaceAll(/\{(\w+)\}/g, ':$1')}`
    )
  )
  t.ok(routes.length > 40)
  t.same(
    [...routes, 'GET unknown', 'other unknown'].filter((route) => !counted.has(route)),
    []
  )
  t.equal(await service.metric('twostep_acts_total', { act: 'user.reset' }), 0)

  await database.prisma.$executeRaw`ALTER TABLE "Account" RENAME TO "Accounts"`
  const payload = { account: 'acme', email: 'ada@example.com', password: 'long enough' }
  const answer = await service.app.inject({ method: 'POST', url: '/v1/login', payload })
  t.equal(answer.statusCode, 500)
  await database.prisma.$executeRaw`ALTER TABLE "Accounts" RENAME TO "Account"`
  const risen = (await faults()).filter(({ value }) => value > 0)
  t.same(
    risen.map(({ labels, value }) => [labels, value]),
    [[{ method: 'POST', route: '/v1/login' }, 1]]
  )
})

t.test(
  'two services in one process count separately, and count the hits of limits',
  ON_SERVER,
  async (t) => {
    const one = await startCountingApp(t, { database, env: { RATE_LIMIT_PER_MINUTE: '5' } })
    const other = await startCountingApp(t, { database })
    const path = '/.well-known/jwks.json'
    for (let request = 0; request < 7; request++) await one.call('GET', path)
    const labels = { route: path, status: '429' }
    const hits = (limit: string) => one.metric('twostep_limit_hits_total', { limit })
    t.same([await hits('address'), await hits('user'), await hits('password')], [2, 0, 0])
    t.equal(await one.metric('twostep_http_request_duration_seconds_count', labels), 2)
    t.equal(await other.metric('twostep_limit_hits_total', { limit: 'address' }), 0)
    t.equal(await other.metric('twostep_http_request_duration_seconds_count', labels), undefined)
  }
)

t.test('a request is counted even if the client disconnects', ON_SERVER, async (t) => {
  const { logged, metric, url } = await startCountingApp(t, { database, listen: true })
  const isLogged = async (words: string) => {
    for (let tries = 0; tries < 1000 && !logged.join('').includes(words); tries++) await sleep(2)
  }
  const body = JSON.stringify({ account: 'unknown', email: 'a@example.com', password: 'as long' })
  const headers = { 'content-type': 'application/json', 'content-length': body.length }
  const login = request(`${url}/v1/login`, { method: 'POST', headers })
  login.on('error', () => {})
  login.end(body)
  await isLogged('incoming request')
  login.destroy()
  await isLogged('request refused')
  await sleep(20)
  t.equal(await metric('twostep_sign_in_steps_total', { reason: 'invalid-credentials' }), 1)
})

t.test('password delays and shed password checks are counted', ON_SERVER, async (t) => {
  const { createAccount, login, metric } = await startCountingApp(t, { database })
  const account = await createAccount({ slug: 'delays' })
  for (let guess = 0; guess < 5; guess++) {
    await login({ account, email: 'ada@example.com', password: 'not the right one' })
  }
  t.ok(await metric('twostep_limit_hits_total', { limit: 'password' }))
  t.equal(await metric('twostep_password_hashes_shed_total'), 0)
  const burst = Array.from({ length: 40 }, (_, index) =>
    login({ account, email: `${index}@example.com`, password: 'not the right one' })
  )
  const answers = await Promise.all(burst)
  const shed = answers.filter(({ statusCode }) => statusCode === 503).length
  t.ok(shed > 0)
  t.equal(await metric('twostep_password_hashes_shed_total'), shed)
  const failed = { step: 'password', outcome: 'failed', reason: 'unavailable' }
  t.equal(await metric('twostep_sign_in_steps_total', failed), shed)
})

t.test('a locked table delays a scrape by at most one second', ON_SERVER, async (t) => {
  const service = await startCountingApp(t, { database })
  const since = performance.now()
  await service.database.prisma.$transaction(async (transaction) => {
    await transaction.$executeRaw`LOCK TABLE "OutboxMail" IN ACCESS EXCLUSIVE MODE`
    const scrapes = await Promise.all([scrape(service.port), scrape(service.port)])
    t.comment(`scraped after ${Math.round(performance.now() - since)} ms`)
    for (const samples of scrapes) {
      const sampled = (name: string) => samples.find((one) => one.name === name)?.value
      t.ok(Number.isNaN(sampled('twostep_mail_oldest_waiting_seconds')))
      t.notOk(Number.isNaN(sampled('twostep_audit_oldest_unsealed_seconds')))
      t.equal(sampled('twostep_dependency_up'), 1)
    }
  })
  t.equal(await service.metric('twostep_mail_oldest_waiting_seconds'), 0)
})

t.test(
  'only GET /metrics is served, and an unavailable database is reported immediately',
  ON_SERVER,
  async (t) => {
    const service = await startCountingApp(t, { database })
    await isAllThereIs(t, service.port)
    await service.database.close()
    const since = performance.now()
    t.equal(await service.metric('twostep_dependency_up', { dependency: 'database' }), 0)
    t.ok(performance.now() - since < 1500, 'no scrape hangs')
    for (const name of ['twostep_mail_oldest_waiting_seconds', 'twostep_audit_events_unsealed']) {
      t.ok(Number.isNaN(await service.metric(name)), name)
    }
    await service.app.close()
    await t.rejects(
      fetch(`http://127.0.0.1:${service.port}/metrics`),
      'the metrics port closes with the service'
    )
  }
)

async function isAllThereIs(t: Test, port: number): Promise<void> {
  const ask = async (path: string, method = 'GET') => {
    const { status, headers } = await fetch(`http://127.0.0.1:${port}${path}`, { method })
    return [status, headers.get('content-type')]
  }
  t.same(await ask('/metrics'), [200, 'text/plain; version=0.0.4; charset=utf-8'])
  t.same(await ask('/metrics', 'POST'), [405, null])
  for (const path of ['/', '/metrics/', '/metrics?x', '/v1/login', '/health/live']) {
    t.same(await ask(path), [404, null], path)
  }
}
