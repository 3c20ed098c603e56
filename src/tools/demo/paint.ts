// Colour where there is a terminal that shows it and NO_COLOR does not forbid it.
import { styleText } from 'node:util'

/** Whether the terminal has colours; Node reads NO_COLOR and TERM for us. */
export const hasColors = process.stdout.isTTY && process.stdout.hasColors()

/** Every version of Node that we run on knows styleText, but not every one of them asks the terminal first. */
export function paint(style: Parameters<typeof styleText>[0], text: string): string {
  return hasColors ? styleText(style, text) : text
}
