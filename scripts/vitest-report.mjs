// A vitest reporter that writes each test's outcome, with the reasons of skips and every error outside of a
// test, to the file that test.mjs names: vitest's own JSON report leaves both out.
import { writeFileSync } from 'node:fs'
import { relative } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import { root } from './support.mjs'

const textOf = (errors) =>
  stripVTControlCharacters(errors.map((error) => error.message ?? String(error)).join('\n'))

export default class Report {
  onTestRunEnd(modules, unhandled) {
    const report = { passed: [], failed: [], skipped: [], retried: [] }
    for (const module of modules) {
      const file = relative(root, module.moduleId)
      for (const test of module.children.allTests()) {
        const { state, errors, note } = test.result()
        const name = `${file} > ${test.fullName}`
        if (test.diagnostic()?.flaky) report.retried.push({ name, message: textOf(errors ?? []) })
        if (state === 'passed') report.passed.push({ name })
        else if (state === 'failed') report.failed.push({ name, message: textOf(errors) })
        else report.skipped.push({ name, message: note ?? '' })
      }
      // A file that does not load, or a hook that fails, fails tests that never began.
      for (const suite of [module, ...module.children.allSuites()]) {
        const errors = suite.errors()
        if (errors.length === 0) continue
        const name = suite === module ? file : `${file} > ${suite.fullName}`
        report.failed.push({ name, message: textOf(errors) })
      }
    }
    for (const error of unhandled) report.failed.push({ name: 'outside of a test', message: textOf([error]) })
    writeFileSync(process.env.COSMOS_TEST_REPORT, JSON.stringify(report))
  }
}
