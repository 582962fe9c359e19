export function render(): void {
  document.body.textContent = 'Gradient Health';
}
