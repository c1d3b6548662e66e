export interface PulsePath { readonly x: number }
