import { drawScript } from './script.ts';
import { playScript } from './scene.ts';
const from = Number(process.argv[2] ?? '1'),
  to = Number(process.argv[3] ?? from);
for (let seed = from; seed <= to; seed++) {
  const t = process.hrtime.bigint();
  const result = await playScript(
    drawScript(String(seed)),
    from === to ? { story: (line) => console.log(line) } : {},
  );
  console.log(
    seed,
    Number((process.hrtime.bigint() - t) / 1000000n),
    'ms',
    result.events,
    result.virtualMs,
    result.requests,
    result.violation === null ? 'ok' : result.violation.message.split('\n').slice(0, 4).join('|').slice(0, 400),
  );
}
