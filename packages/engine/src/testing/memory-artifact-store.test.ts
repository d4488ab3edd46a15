import { artifactStoreContract } from './artifact-store-contract.ts'
import { createMemoryArtifactStore } from './memory-artifact-store.ts'

artifactStoreContract('the artifact store in memory', async () => ({
  store: createMemoryArtifactStore(),
  dispose: async () => {},
}))
