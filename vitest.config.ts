import { defineConfig } from 'vitest/config';

/** Unit, property, contract and golden tests; one worker process for all of them is four times faster than one each. */
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/clients/**'],
    pool: 'forks',
    isolate: false,
    testTimeout: 30_000,
  },
});
