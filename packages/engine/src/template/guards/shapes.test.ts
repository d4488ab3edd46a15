import { expect, it } from 'vitest'
import { artifactReference } from '../../execution/run-state.ts'
import { anArtifact } from '../../testing/factories.ts'
import { KEYS_OF_FILES } from './shapes.ts'

it('the keys of files are those that outputs have', () => {
  expect(KEYS_OF_FILES).toEqual(Object.keys(artifactReference(anArtifact('f'))))
})
