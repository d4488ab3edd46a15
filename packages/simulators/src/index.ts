// The offline twins of all providers. `createProviders` of the steps package takes this module as it is.
export { createSimulatedClient, simulationMissing } from './client.ts'
