-- CreateTable
CREATE TABLE "StoredResponse" (
    "accountId" UUID NOT NULL,
    "id" UUID NOT NULL,
    "sealedResponse" TEXT NOT NULL,
    "expiresAt" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "StoredResponse_pkey" PRIMARY KEY ("accountId","id")
);

-- CreateIndex
CREATE INDEX "StoredResponse_expiresAt_idx" ON "StoredResponse"("expiresAt");
