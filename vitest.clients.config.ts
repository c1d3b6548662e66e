import { defineConfig } from 'vitest/config';

/** Real clients against real nodes: they load the machine, so one file and one test at a time. */
export default defineConfig({
  test: {
    include: ['test/clients/**/*.test.ts'],
    pool: 'forks',
    fileParallelism: false,
    testTimeout: 300_000,
    hookTimeout: 60_000,
  },
});
