// Colours, if the terminal has them and NO_COLOR does not forbid them.
import { styleText } from 'node:util'

/** Whether the terminal has colours. Node evaluates NO_COLOR and TERM. */
export const hasColors = process.stdout.isTTY && process.stdout.hasColors()

/** Returns the text with a style if the terminal has colours. Some supported versions of Node do not check the terminal. */
export function paint(style: Parameters<typeof styleText>[0], text: string): string {
  return hasColors ? styleText(style, text) : text
}
