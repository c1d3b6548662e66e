export interface RefusalCounts { readonly x: number }
