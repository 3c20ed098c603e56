// What `npm test` prints: a line for every file, every failure with its diagnostics and the names
// above it, whatever the tests write themselves, and `N passed, N failed` as the very last line.
//
// It reads TAP 14 line by line. A passing point says nothing new, so only files are named; a parent
// fails because of its child, so only the innermost failure is shown in full.
import { Transform } from 'node:stream'

const POINT = /^(not ok|ok) \d+ - (.*?)(?: # time=([\d.]+)ms)?(?: \{)?$/
const TOTALS = /^# \{ total: \d+(?:, pass: (\d+))?(?:, fail: (\d+))?/
const DIRECTIVE = / # (SKIP|TODO)\b/i
// Lines without a result: plans, versions, pragmas, times, the braces of a buffered subtest.
const FURNITURE = /^(\d+\.\.\d+( #.*)?|TAP version \d+|pragma .*|# time=.*|\{|\})?$/

export default class Reporter extends Transform {
  #unfinishedLine = ''
  /** The test's name at each depth; the file is at depth 0. */
  #names = []
  /** Depth of the last failure. A shallower failure that follows is its parent. */
  #failedDepth = -1
  /** Indent of the diagnostic that is being read, if one is. */
  #diagnosticIndent = -1
  #diagnosticShown = false
  #totals = null

  _transform(chunk, _encoding, done) {
    const lines = (this.#unfinishedLine + chunk).split('\n')
    this.#unfinishedLine = lines.pop() ?? ''
    for (const line of lines) this.#read(line)
    done()
  }

  _flush(done) {
    this.#read(this.#unfinishedLine)
    if (!this.#totals) {
      this.#print('not ok: the run ended before its totals')
      process.exitCode = 1
    }
    const { passed, failed } = this.#totals ?? { passed: 0, failed: 1 }
    this.#print(`\n${passed} passed, ${failed} failed`)
    done()
  }

  #print(line) {
    this.push(`${line}\n`)
  }

  #read(raw) {
    const line = raw.trimStart()
    const indent = raw.length - line.length
    if (this.#diagnosticIndent >= 0) return this.#readDiagnostic(raw, line, indent)
    if (line === '---') {
      this.#diagnosticIndent = indent
      return
    }
    const depth = Math.floor(indent / 4)
    if (line.startsWith('# Subtest: ')) {
      this.#names[depth] = line.slice('# Subtest: '.length)
      return
    }
    const point = POINT.exec(line)
    if (point) return this.#readPoint(depth, point)
    const totals = TOTALS.exec(raw)
    if (totals) {
      this.#totals = { passed: Number(totals[1] ?? 0), failed: Number(totals[2] ?? 0) }
      return
    }
    if (!FURNITURE.test(line)) this.#print(raw)
  }

  #readPoint(depth, [, status, name, milliseconds]) {
    this.#names[depth] = name
    const path = this.#names.slice(0, depth + 1).join(' > ')
    const isDirective = DIRECTIVE.test(name)
    const isFailure = status === 'not ok' && !isDirective
    const isParent = isFailure && this.#failedDepth > depth
    this.#diagnosticShown = isFailure && !isParent
    this.#failedDepth = isFailure ? depth : Math.min(this.#failedDepth, depth)
    const time = milliseconds ? ` (${Math.round(Number(milliseconds))} ms)` : ''
    if (depth === 0 || this.#diagnosticShown) this.#print(`${status} ${path}${time}`)
    else if (isDirective) this.#print(`   ${path}`)
  }

  #readDiagnostic(raw, line, indent) {
    if (line === '...' && indent === this.#diagnosticIndent) {
      this.#diagnosticIndent = -1
      if (this.#diagnosticShown) this.#print('')
      return
    }
    if (this.#diagnosticShown) this.#print(`    ${raw.slice(this.#diagnosticIndent)}`)
  }
}
