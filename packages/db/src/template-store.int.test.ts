// What the template store promises beyond one edit: many at once, on few connections.
import { expect, it, onTestFinished } from 'vitest'
import { createDb } from './client.ts'
import { createTemplateStore } from './template-store.ts'
import { createTestDb } from './testing.ts'

it('lets any number of edits look at the record while they hold their row, on two connections', async () => {
  const { databaseUrl, drop } = await createTestDb()
  const db = createDb({ databaseUrl, connectionsMax: 2 })
  onTestFinished(async () => {
    await db.close()
    await drop()
  })
  const store = createTemplateStore(db)
  const ids = ['a', 'b', 'c', 'd']
  const edit = (id: string) => ({ id, document: { id }, visibility: 'draft' as const, freeze: null })
  for (const id of ids) await store.create('system', edit(id))
  const edited = [...ids, ...ids].map((id) =>
    store.edit(id, async () => {
      await store.listed(ids)
      return edit(id)
    }),
  )
  expect((await Promise.all(edited)).map((template) => template?.id)).toEqual([...ids, ...ids])
})
