/** What a sink is told by the configuration, defaults filled in. */
import type { AlertLevel } from '../../pulse/indication.ts';

/** Secrets stand in files or in the environment, never in the configuration. */
export type SecretSource =
  { readonly kind: 'file'; readonly path: string } | { readonly kind: 'environment'; readonly name: string };

export type SinkSettings = SnmpSettings | WebhookSettings | EmailSettings | CommandSettings;

interface SinkCommon {
  readonly name: string;
  /** Never TEMPORARY. */
  readonly levels: readonly AlertLevel[];
}

export const snmpAuthentications = ['sha', 'sha224', 'sha256', 'sha384', 'sha512'] as const;
export const snmpPrivacies = ['aes', 'aes256b', 'aes256r'] as const;

export interface SnmpSettings extends SinkCommon {
  readonly kind: 'snmp';
  readonly host: string;
  readonly port: number;
  /** Informs are answered by the receiver, and repeated until they are; traps are not. */
  readonly informs: boolean;
  readonly access:
    | { readonly version: '2c'; /** Null: `public`. */ readonly community: SecretSource | null }
    | {
        readonly version: '3';
        readonly user: string;
        readonly authentication: (typeof snmpAuthentications)[number];
        /** Null: neither authentication nor privacy. */
        readonly authenticationKey: SecretSource | null;
        readonly privacy: (typeof snmpPrivacies)[number];
        /** Null: no privacy. */
        readonly privacyKey: SecretSource | null;
      };
}

export interface WebhookSettings extends SinkCommon {
  readonly kind: 'webhook';
  /** http or https. */
  readonly url: string;
  /** Null: not signed. */
  readonly secret: SecretSource | null;
  /** Certificates to trust instead of the system's, PEM; null: the system's. */
  readonly caPath: string | null;
}

export interface EmailSettings extends SinkCommon {
  readonly kind: 'email';
  readonly host: string;
  readonly port: number;
  /** `tls` from the first byte, `starttls` after a greeting and never without, `none` in the clear. */
  readonly security: 'tls' | 'starttls' | 'none';
  readonly caPath: string | null;
  /** Null: none is needed. */
  readonly login: { readonly user: string; readonly password: SecretSource } | null;
  readonly from: string;
  readonly to: readonly string[];
}

export interface CommandSettings extends SinkCommon {
  readonly kind: 'command';
  readonly program: string;
  readonly args: readonly string[];
  readonly timeLimitMs: number;
}
