# The service and what it needs at run time: no compiler, no Prisma CLI, no root.

FROM node:22-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json prisma.config.ts ./
COPY prisma prisma
COPY src src
RUN npm run build

# `npm ci --omit=dev` would still bring the Prisma CLI and TypeScript, which the client names as
# optional peers and the lock therefore holds (397 MB). Without devDependencies to satisfy them, npm
# leaves them out and takes the versions of the lock for the rest (156 MB). A third of that are query compilers
# for databases which this service can't talk to.
FROM node:22-bookworm-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm pkg delete devDependencies \
  && npm install --omit=dev --no-audit --no-fund \
  && find node_modules/@prisma/client/runtime -name 'query_compiler_*' ! -name '*.postgresql.*' -delete

FROM node:22-bookworm-slim
ENV NODE_ENV=production HOST=0.0.0.0 PORT=3000
WORKDIR /app
COPY package.json ./
COPY --from=dependencies /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY prisma/migrations prisma/migrations
USER node
EXPOSE 3000
STOPSIGNAL SIGTERM
# Alive, not ready: a database that is away is no reason to restart the process.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/health/live`).then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "dist/server.js"]
