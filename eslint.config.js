/**
 * What the compiler does not see: promises nobody waits for, a `switch` that forgot a case, an arrow between rooms
 * that points upwards, and protocol logic that reaches for the world instead of being given it (ARCHITECTURE.md).
 */
import { builtinModules } from 'node:module';
import tseslint from 'typescript-eslint';

/** Rooms from the bottom up; a room may use those on its own line and below. Nothing may use `sim`. */
const layers = [
  ['base'],
  ['store', 'pulse', 'block'],
  ['stream', 'link'],
  ['volume', 'journal'],
  ['mirror'],
  ['group'],
  ['agent', 'hosts', 'alerts'],
  ['node'],
  ['api'],
  ['cli', 'console'],
  ['sim'],
];
/** Rooms that bind the world; all others get it through `base`, `block` and `store`. */
const worldly = ['block', 'node', 'api', 'cli', 'console', 'sim'];

const worldModules = [
  ...builtinModules,
  'node:.*',
  'pino',
  'koffi',
  '@hono/node-server',
  'net-snmp',
  'nodemailer',
].filter((name) => !name.startsWith('_'));
const noWorldImports = [
  {
    regex: `^(${worldModules.join('|')})$`,
    message: 'Protocol logic gets the world through the interfaces of base.',
  },
  {
    regex: '^(\\.\\./)+base/node/|^\\./node/',
    message: 'Production bindings are for the rooms that bind the world.',
  },
];
const noWorldGlobals = [
  ...[
    'setTimeout',
    'setInterval',
    'setImmediate',
    'queueMicrotask',
    'process',
    'performance',
    'fetch',
    'crypto',
    'console',
  ],
].map((name) => ({ name, message: 'Protocol logic gets the world through the interfaces of base.' }));
const noWorldSyntax = [
  ...[
    "CallExpression[callee.object.name='Date'][callee.property.name='now']",
    "NewExpression[callee.name='Date'][arguments.length=0]",
  ],
  "CallExpression[callee.object.name='Math'][callee.property.name='random']",
].map((selector) => ({ selector, message: 'Time and chance come from Clock and Random.' }));

function roomRules(room, level) {
  const above = layers.slice(level + 1).flat();
  const upwards = {
    regex: `^(\\.\\./)+(${above.join('|')})/`,
    message: `Arrows point downwards: ${room} knows nothing of the layers above it.`,
  };
  const bound = worldly.includes(room);
  return {
    files: [`src/${room}/**/*.ts`],
    ignores: ['src/base/node/**'],
    rules: {
      'no-restricted-imports': [
        'error',
        { patterns: [...(above.length > 0 ? [upwards] : []), ...(bound ? [] : noWorldImports)] },
      ],
      ...(bound
        ? {}
        : {
            'no-restricted-globals': ['error', ...noWorldGlobals],
            'no-restricted-syntax': ['error', ...noWorldSyntax],
          }),
    },
  };
}

export default tseslint.config(
  { ignores: ['dist/', 'coverage/', 'holdfast-data/', '**/*.js', '**/*.mjs'] },
  ...tseslint.configs.recommendedTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/no-non-null-assertion': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      // An interface that promises asynchrony may be kept by code that needs none.
      '@typescript-eslint/require-await': 'off',
      // Callbacks handed out by interfaces here are plain functions; `this` is never lost in them.
      '@typescript-eslint/unbound-method': 'off',
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
    },
  },
  {
    // What matchers such as `expect.objectContaining` return is `any`.
    files: ['test/**/*.ts'],
    rules: Object.fromEntries(
      ['assignment', 'return', 'member-access', 'argument', 'call'].map((what) => [
        `@typescript-eslint/no-unsafe-${what}`,
        'off',
      ]),
    ),
  },
  ...layers.flatMap((rooms, level) => rooms.map((room) => roomRules(room, level))),
  {
    // What they take from outside computes and nothing else.
    files: ['crc32c', 'digest', 'hmac', 'sha256'].map((name) => `src/base/${name}.ts`),
    rules: { 'no-restricted-imports': 'off' },
  },
);
