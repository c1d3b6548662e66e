/**
 * Cuts a failing script down: as long as the same invariant still breaks, whatever can be left out is. What remains is a
 * scene a person can follow; kept in `test/sim/scenes`, it stays a test.
 */
import { legsOf, type Action, type Script } from './script.ts';
import { playScript, type SceneOptions } from './scene.ts';

/** @param playsMax bounds the work. */
export async function shrink(
  script: Script,
  invariant: string,
  options: SceneOptions,
  playsMax = 150,
): Promise<Script> {
  let best = script;
  let plays = 0;
  const fails = async (candidate: Script): Promise<boolean> => {
    if (plays++ >= playsMax) return false;
    const { violation } = await playScript(candidate, options);
    if (violation?.invariant !== invariant) return false;
    best = candidate;
    return true;
  };
  for (let before: Script | null = null; before !== best && plays < playsMax;) {
    before = best;
    for (let size = best.actions.length; size >= 1; size = Math.floor(size / 2)) {
      for (let at = 0; at < best.actions.length;) {
        if (!(await fails({ ...best, actions: without(best.actions, at, size) }))) at += size;
      }
    }
    for (let at = best.hosts.length - 1; at >= 0 && best.hosts.length > 1; at--) {
      await fails({ ...best, hosts: best.hosts.filter((_, index) => index !== at) });
    }
    for (const group of best.groups.slice(1)) {
      const hosts = best.hosts.filter((host) => host.group !== group.name);
      const actions = best.actions.filter((action) => !('group' in action) || action.group !== group.name);
      await fails({ ...best, groups: best.groups.filter((other) => other !== group), hosts, actions });
    }
    for (const node of best.nodes) if (best.nodes.length > 2) await fails(withoutNode(best, node));
    for (const [at, host] of best.hosts.entries()) {
      const calmer = { ...host, lanes: Math.max(1, Math.floor(host.lanes / 2)), thinkMs: host.thinkMs * 2 };
      if (host.lanes > 1)
        await fails({ ...best, hosts: best.hosts.map((other, index) => (index === at ? calmer : other)) });
    }
    const lastMs = best.actions.at(-1)?.atMs ?? 0;
    for (const durationMs of [lastMs + 500, lastMs + 2000, Math.round(best.durationMs / 2)]) {
      if (durationMs < best.durationMs && durationMs >= lastMs && (await fails({ ...best, durationMs }))) break;
    }
  }
  return best;
}

/** Of three nodes, two; a group that loses its owner is owned by its first target. */
function withoutNode(script: Script, gone: string): Script {
  const stays = (node: string): boolean => node !== gone;
  const nodes = script.nodes.filter(stays);
  const groups = script.groups.map((group) => {
    const legs = legsOf(group, script.nodes).filter(({ node }) => stays(node));
    return { ...group, legs, owner: legs[0]?.node ?? group.owner };
  });
  const actions = script.actions.filter((action) => !JSON.stringify(action).includes(`"${gone}"`));
  return { ...script, nodes, groups, actions };
}

function without(actions: readonly Action[], at: number, count: number): Action[] {
  return [...actions.slice(0, at), ...actions.slice(at + count)];
}
