import { describe, expect, it } from 'vitest';
import { masterOf, type MasterCandidate } from '../../src/pulse/masters.ts';

const valid = (name: string, says: string | null = null): MasterCandidate => ({ name, isValid: true, says });
const gone = (name: string, says: string | null = null): MasterCandidate => ({ name, isValid: false, says });

describe('the master of a site (HM-1)', () => {
  it('is the first in succession where nobody was', () => {
    expect(masterOf([valid('a'), valid('b')], null)).toBe('a');
    expect(masterOf([gone('a'), valid('b')], null)).toBe('b');
  });

  it('stays while it is valid, whoever comes back before it in succession', () => {
    expect(masterOf([valid('a'), valid('b')], 'b')).toBe('b');
  });

  it('passes to the next when it has sent nothing valid for long enough', () => {
    expect(masterOf([valid('a'), gone('b'), valid('c')], 'b')).toBe('a');
    expect(masterOf([gone('a'), gone('b'), valid('c')], 'a')).toBe('c');
  });

  it('is nobody when nobody is heard', () => {
    expect(masterOf([gone('a'), gone('b')], 'a')).toBe(null);
    expect(masterOf([], null)).toBe(null);
  });

  it('is who the others say it is, for a node that has just started', () => {
    expect(masterOf([valid('a'), valid('b', 'b')], null)).toBe('b');
    expect(masterOf([valid('a'), valid('b', 'c'), valid('c', 'c')], null)).toBe('c');
  });

  it('is one again when a site grows together after a cut: the first in succession of those that were', () => {
    expect(masterOf([valid('a'), valid('b', 'b'), valid('c', 'c')], 'c')).toBe('b');
    expect(masterOf([valid('a'), valid('b', 'b'), valid('c', 'c')], 'b')).toBe('b');
  });

  it('is not who is said to be by a node that is not valid, nor who is not valid himself', () => {
    expect(masterOf([valid('a'), valid('b'), gone('c', 'b')], null)).toBe('a');
    expect(masterOf([valid('a', 'c'), valid('b', 'c'), gone('c')], null)).toBe('a');
  });
});
