-- AlterTable
ALTER TABLE "SigningKey" ADD COLUMN     "signsFrom" TIMESTAMPTZ(3) NOT NULL DEFAULT clock_timestamp();

-- Until now a key signed from when it was made.
UPDATE "SigningKey" SET "signsFrom" = "createdAt";
