import { expect, test } from 'vitest';
import { initiatorName, LoginTest, targetName, textOf } from './initiator.ts';

const toSecurity = { stage: 0, next: 1, transit: true };
const toFull = { stage: 1, next: 3, transit: true };
const names = [`InitiatorName=${initiatorName}`, `TargetName=${targetName}`, 'SessionType=Normal'];

test('open-iscsi: security stage without authentication, then operational stage', () => {
  const test = new LoginTest();
  test.target.alias = 'group g1';
  const first = test.send(
    toSecurity,
    `InitiatorName=${initiatorName}`,
    'InitiatorAlias=db1',
    `TargetName=${targetName}`,
    'SessionType=Normal',
    'AuthMethod=None',
  );
  expect(first).toMatchObject({ status: 0, transit: true, stage: 0, next: 1, tsih: 0, taskTag: 0x11, statSn: 1 });
  expect(first).toMatchObject({ isid: '00023d000001', expCmdSn: 1, maxCmdSn: 64 });
  expect(first.pairs).toEqual(['TargetPortalGroupTag=3', 'TargetAlias=group g1', 'AuthMethod=None']);
  const second = test.send(
    toFull,
    'HeaderDigest=None',
    'DataDigest=None',
    'DefaultTime2Wait=2',
    'DefaultTime2Retain=0',
    'IFMarker=No',
    'OFMarker=No',
    'ErrorRecoveryLevel=0',
    'InitialR2T=No',
    'ImmediateData=Yes',
    'MaxBurstLength=16776192',
    'FirstBurstLength=262144',
    'MaxOutstandingR2T=1',
    'MaxConnections=1',
    'DataPDUInOrder=Yes',
    'DataSequenceInOrder=Yes',
    'MaxRecvDataSegmentLength=262144',
  );
  expect(second).toMatchObject({ status: 0, transit: true, stage: 1, next: 3, tsih: 0x77, statSn: 2 });
  expect(second.pairs).toEqual([
    'HeaderDigest=None',
    'DataDigest=None',
    'DefaultTime2Wait=2',
    'DefaultTime2Retain=0',
    'IFMarker=No',
    'OFMarker=No',
    'ErrorRecoveryLevel=0',
    'InitialR2T=No',
    'ImmediateData=Yes',
    'MaxBurstLength=1048576',
    'FirstBurstLength=262144',
    'MaxOutstandingR2T=1',
    'MaxConnections=1',
    'DataPDUInOrder=Yes',
    'DataSequenceInOrder=Yes',
    'MaxRecvDataSegmentLength=262144',
  ]);
  expect(test.agreement).toMatchObject({
    type: 'normal',
    target: test.target,
    initiatorName,
    initiatorAlias: 'db1',
    initiatorPort: `${initiatorName},i,0x00023d000001`,
    tsih: 0x77,
    cid: 0,
    statSn: 3,
    expCmdSn: 1,
    parameters: {
      headerDigest: false,
      dataDigest: false,
      initialR2T: false,
      immediateData: true,
      maxBurstLength: 1048576,
      firstBurstLength: 262144,
      maxSendDataSegmentLength: 262144,
      maxRecvDataSegmentLength: 262144,
    },
  });
  expect(test.target.asked).toEqual([`${initiatorName} 10.0.0.9`]);
});

test('libiscsi: straight into the operational stage, keys of RFC 3720 and all', () => {
  const test = new LoginTest();
  const answer = test.send(
    { ...toFull, cmdSn: 0xffff_fff0 },
    ...names,
    'HeaderDigest=None,CRC32C',
    'DataDigest=None',
    'InitialR2T=No',
    'ImmediateData=Yes',
    'MaxBurstLength=262144',
    'FirstBurstLength=262144',
    'DefaultTime2Wait=2',
    'DefaultTime2Retain=0',
    'MaxOutstandingR2T=1',
    'ErrorRecoveryLevel=0',
    'IFMarker=No',
    'OFMarker=No',
    'MaxConnections=1',
    'MaxRecvDataSegmentLength=262144',
    'DataPDUInOrder=Yes',
    'DataSequenceInOrder=Yes',
  );
  expect(answer).toMatchObject({ status: 0, transit: true, next: 3, tsih: 0x77 });
  expect(answer.pairs[0]).toBe('TargetPortalGroupTag=3');
  expect(answer.pairs).toContain('HeaderDigest=None');
  // Across the end of 32 bits.
  expect(answer).toMatchObject({ expCmdSn: 0xffff_fff0, maxCmdSn: 0x2f });
  expect(test.agreement.expCmdSn).toBe(0xffff_fff0);
});

test('Windows: security stage that is not left at once, names only there, digests wanted', () => {
  const test = new LoginTest();
  const first = test.send(
    { stage: 0, next: 1, transit: true },
    'InitiatorName=iqn.1991-05.com.microsoft:host1',
    'SessionType=Normal',
    `TargetName=${targetName}`,
    'AuthMethod=None',
  );
  expect(first).toMatchObject({ status: 0, transit: true, next: 1 });
  const second = test.send(
    toFull,
    'HeaderDigest=CRC32C,None',
    'DataDigest=CRC32C,None',
    'ErrorRecoveryLevel=2',
    'InitialR2T=No',
    'ImmediateData=Yes',
    'MaxRecvDataSegmentLength=65536',
    'MaxBurstLength=262144',
    'FirstBurstLength=65536',
    'MaxConnections=1',
    'DataPDUInOrder=Yes',
    'DataSequenceInOrder=Yes',
    'DefaultTime2Wait=0',
    'DefaultTime2Retain=60',
    'MaxOutstandingR2T=16',
  );
  expect(second.pairs).toEqual([
    'HeaderDigest=CRC32C',
    'DataDigest=CRC32C',
    'ErrorRecoveryLevel=0',
    'InitialR2T=No',
    'ImmediateData=Yes',
    'MaxBurstLength=262144',
    'FirstBurstLength=65536',
    'MaxConnections=1',
    'DataPDUInOrder=Yes',
    'DataSequenceInOrder=Yes',
    'DefaultTime2Wait=0',
    'DefaultTime2Retain=0',
    'MaxOutstandingR2T=1',
    'MaxRecvDataSegmentLength=262144',
  ]);
  expect(test.agreement.parameters).toMatchObject({ headerDigest: true, dataDigest: true });
});

test('VMware: an empty request to leave the security stage, operational keys without T first', () => {
  const test = new LoginTest();
  const name = 'InitiatorName=iqn.1998-01.com.vmware:esx1-5a3c';
  expect(
    test.send({ stage: 0, next: 1 }, name, names[1] ?? '', 'SessionType=Normal', 'AuthMethod=None,CHAP'),
  ).toMatchObject({
    transit: false,
    pairs: ['TargetPortalGroupTag=3', 'AuthMethod=None'],
  });
  expect(test.send(toSecurity)).toMatchObject({ transit: true, next: 1, pairs: [] });
  expect(test.send({ stage: 1 }, 'HeaderDigest=None', 'X-com.vmware.isid=1').pairs).toEqual([
    'HeaderDigest=None',
    'X-com.vmware.isid=NotUnderstood',
    'MaxRecvDataSegmentLength=262144',
  ]);
  expect(test.send(toFull, 'TaskReporting=ResponseFence,RFC3720', 'iSCSIProtocolLevel=2')).toMatchObject({
    transit: true,
    next: 3,
    statSn: 4,
    pairs: ['TaskReporting=RFC3720', 'iSCSIProtocolLevel=1'],
  });
  // What was not negotiated is as RFC 7143 13 says.
  expect(test.agreement.parameters).toMatchObject({
    initialR2T: true,
    maxBurstLength: 262144,
    firstBurstLength: 65536,
  });
});

test('a discovery session: no target, irrelevant keys, from the security stage straight on', () => {
  const straight = new LoginTest();
  const first = [`InitiatorName=${initiatorName}`, 'SessionType=Discovery'];
  expect(straight.send({ stage: 0, next: 3, transit: true }, ...first, 'AuthMethod=None')).toMatchObject({
    status: 0,
    transit: true,
    next: 3,
    pairs: ['AuthMethod=None'],
  });
  expect(straight.agreement).toMatchObject({ type: 'discovery', target: null, admission: null });
  // Never declared, so never in force.
  expect(straight.agreement.parameters.maxRecvDataSegmentLength).toBe(8192);

  const negotiated = new LoginTest();
  expect(negotiated.send(toFull, ...first, 'MaxConnections=1', 'InitialR2T=No', 'DataDigest=None').pairs).toEqual([
    'MaxConnections=Irrelevant',
    'InitialR2T=Irrelevant',
    'DataDigest=None',
    'MaxRecvDataSegmentLength=262144',
  ]);
});

test('text in several PDUs is put together, each part answered by an empty one', () => {
  const text = textOf([...names, 'HeaderDigest=CRC32C']);
  for (let split = 0; split <= text.length; split++) {
    const test = new LoginTest();
    const part = test.sendText({ stage: 1, continues: true }, text.subarray(0, split));
    expect(part).toMatchObject({ status: 0, transit: false, continues: false, pairs: [], statSn: 1 });
    expect(test.sendText(toFull, text.subarray(split))).toMatchObject({ transit: true, next: 3, statSn: 2 });
    expect(test.agreement.parameters.headerDigest).toBe(true);
  }
});

test('a name in capitals is the same name', () => {
  const test = new LoginTest();
  test.send(toFull, `InitiatorName=${initiatorName.toUpperCase()}`, `TargetName=${targetName.replace('org', 'ORG')}`);
  expect(test.agreement).toMatchObject({ initiatorName, target: test.target });
});

test('names repeated in a later request are passed over, changed ones end the login', () => {
  const test = new LoginTest();
  test.send(toSecurity, ...names);
  expect(test.send({ stage: 1 }, ...names)).toMatchObject({ status: 0 });
  expect(test.send({ stage: 1 }, 'InitiatorName=iqn.1993-08.org.debian:01:other')).toMatchObject({ status: 0x200 });
});

test.each([
  ['0200', 'InitiatorName not a name', { stage: 1 }, ['InitiatorName=host', names[1]]],
  ['0200', 'a key twice', { stage: 1 }, [...names, 'InitialR2T=No', 'InitialR2T=Yes']],
  ['0200', 'a name twice', { stage: 1 }, [...names, names[0]]],
  ['0200', 'no equals sign', { stage: 1 }, ['InitiatorName']],
  ['0200', 'stage 2', { stage: 2 }, names],
  ['0200', 'full feature stage', { stage: 3 }, names],
  ['0200', 'backwards', { stage: 1, next: 0, transit: true }, names],
  ['0200', 'to stage 2', { stage: 1, next: 2, transit: true }, names],
  ['0200', 'T and C', { stage: 1, next: 3, transit: true, continues: true }, names],
  ['0203', 'no such target', { stage: 1 }, [names[0], 'TargetName=iqn.2026-11.org.holdfast:c1:g2']],
  ['0203', 'a target without a name', { stage: 1 }, [names[0], 'TargetName=']],
  ['0205', 'a version to come', { stage: 1, versionMin: 1 }, names],
  ['0207', 'no InitiatorName', { stage: 1 }, [names[1]]],
  ['0207', 'no TargetName', { stage: 1 }, [names[0]]],
  ['0209', 'another type of session', { stage: 1 }, [names[0], names[1], 'SessionType=Other']],
  ['020b', 'a command', { stage: 1, opcode: 0x01 }, []],
  ['0200', 'a key too many', { stage: 1 }, [...names, ...unknownKeys(62)]],
])('status %s: %s', (status, _what, fields, pairs) => {
  const test = new LoginTest();
  const answer = test.send(fields, ...pairs.map(String));
  expect(answer).toMatchObject({ transit: false, tsih: 0, pairs: [] });
  expect(answer.status.toString(16).padStart(4, '0')).toBe(status);
  expect(test.reason.length).toBeGreaterThan(10);
  expect(test.opened).toEqual([]);
});

test('as many keys as there may be, as long as they may be, are answered in one PDU', () => {
  const test = new LoginTest();
  test.target.alias = 'a'.repeat(255);
  const answer = test.send({ stage: 1 }, ...names, ...unknownKeys(61));
  expect(answer.status).toBe(0);
  expect(answer.pairs.filter((pair) => pair.endsWith('=NotUnderstood')).length).toBe(61);
});

/** Of the greatest length. */
function unknownKeys(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${'X-'.padEnd(61, 'x')}${10 + index}=1`);
}

test.each([
  ['noSuchSession', 0x20a],
  ['tooManyConnections', 0x206],
  ['cannotInclude', 0x208],
  ['outOfResources', 0x302],
] as const)('the registry refuses with %s', (refused, status) => {
  const test = new LoginTest();
  test.refused = refused;
  expect(test.send({ ...toFull, tsih: 0x55 }, ...names)).toMatchObject({ status, transit: false, tsih: 0x55 });
});

test('the registry is asked once, at the end, with TSIH and CID as they came', () => {
  const test = new LoginTest();
  test.send({ ...toSecurity, tsih: 5, cid: 9 }, ...names);
  expect(test.opened).toEqual([]);
  test.send({ ...toFull, tsih: 5, cid: 9 });
  expect(test.opened).toEqual([
    { type: 'normal', initiatorName, isid: '00023d000001', tsih: 5, cid: 9, target: test.target },
  ]);
});

test.each([{ isid: '00023d000002' }, { tsih: 1 }, { cid: 1 }, { taskTag: 2 }, { stage: 0 }])(
  'a later request that differs in %o ends the login',
  (other) => {
    const test = new LoginTest();
    test.send(toSecurity, ...names);
    expect(test.send({ stage: 1, ...other }, 'HeaderDigest=None')).toMatchObject({ status: 0x200 });
  },
);

test('whoever may not log in is told so, and no more (0202)', () => {
  const test = new LoginTest();
  test.target.admission = { refused: 'the address is not in the list' };
  expect(test.send(toFull, ...names)).toMatchObject({ status: 0x202, pairs: [] });
  expect(test.last).toMatchObject({ fault: false, reason: 'the address is not in the list' });
});

test('hosts are sent elsewhere by address (0101)', () => {
  const test = new LoginTest();
  test.target.redirect = '10.0.0.2:3260';
  expect(test.send(toFull, ...names)).toMatchObject({ status: 0x101, pairs: ['TargetAddress=10.0.0.2:3260'] });
  expect(test.last).toMatchObject({ kind: 'end', fault: false });
});

test('a login that never gets on is ended, and so is text without end', () => {
  const circles = new LoginTest();
  for (let index = 0; index < 64; index++) expect(circles.send({ stage: 1 }, ...names).status).toBe(0);
  expect(circles.send({ stage: 1 }, ...names).status).toBe(0x200);

  const endless = new LoginTest();
  const part = Buffer.alloc(8192, 'x');
  expect(endless.sendText({ stage: 1, continues: true }, part).status).toBe(0);
  expect(endless.sendText({ stage: 1, continues: true }, part).status).toBe(0);
  expect(endless.sendText({ stage: 1, continues: true }, Buffer.from('x')).status).toBe(0x200);
});
