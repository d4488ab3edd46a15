import { QueryClientProvider } from '@tanstack/react-query'
import { RouterProvider } from '@tanstack/react-router'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { whenSessionEnds } from './api/http.ts'
import { queryClient, sessionQuery } from './api/queries.ts'
import { router } from './router.tsx'
import { applyTheme } from './theme.ts'
import './styles.css'

applyTheme()
whenSessionEnds(() => {
  queryClient.setQueryData(sessionQuery.queryKey, null)
  void router.invalidate()
})

const root = document.getElementById('app')
if (root === null) throw new Error('the page has no place for the app')
createRoot(root).render(
  <StrictMode>
    <QueryClientProvider client={queryClient}>
      <RouterProvider router={router} />
    </QueryClientProvider>
  </StrictMode>,
)
