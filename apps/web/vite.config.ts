import tailwindcss from '@tailwindcss/vite'
import react from '@vitejs/plugin-react'
import { defineConfig } from 'vite'

/** Where `npm run up` serves the API. */
const API = 'http://127.0.0.1:3000'

export default defineConfig({
  base: '/app/',
  // The server puts a fresh one into every answer.
  html: { cspNonce: '__CSP_NONCE__' },
  plugins: [tailwindcss(), react()],
  build: {
    target: 'es2023',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    cssMinify: 'lightningcss',
    reportCompressedSize: false,
  },
  server: {
    port: 5173,
    strictPort: true,
    // The host stays as it is: sessions ask whether Origin and Host are the same.
    proxy: { '^/(v1|openapi\\.json|healthz|readyz|session)(/|$|\\?)': { target: API, changeOrigin: false } },
  },
})
