// Refuses `npm install`: it would install the root alone, without the workspace, and look like it worked.
if (!process.env.npm_config_user_agent?.includes('pnpm/')) {
  console.error('Fabrique is a pnpm workspace. Run "npm run setup" instead: it brings its own pnpm and Node.')
  process.exit(1)
}
