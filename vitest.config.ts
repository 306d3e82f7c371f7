// Tests mount file systems and start daemons: each file has a process of its own, two at a time.
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // On a machine that others use too a test may come too late once; `npm test` names those that needed it.
    retry: process.env.CI ? 1 : 0,
  },
})
