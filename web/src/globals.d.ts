/** The version that the page was built as. */
declare const __VERSION__: string;
