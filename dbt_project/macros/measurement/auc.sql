{#
    The area under the ROC curve: the chance that who churned had the lower value than who stayed, ties counting half
    (Mann and Whitney 1947). 0.5 says nothing, 1 tells them apart.

    outcomes   subselect with the columns of `by`, `predicted_by`, and how often it churned and stayed (`churned`, `stayed`)
    by         columns for each combination of which there is one area
#}
{% macro auc(outcomes, by) -%}
    (
        select
            {{ by | join(', ') }},
            {{ ratio('sum(churned * (stayed_above + 0.5 * stayed))', 'max(all_churned) * max(all_stayed)') }} as auc
        from (
            select
                tallied.*,
                sum(stayed) over (
                    partition by {{ by | join(', ') }}
                    order by predicted_by desc
                    rows between unbounded preceding and current row
                ) - stayed as stayed_above,
                sum(churned) over (partition by {{ by | join(', ') }}) as all_churned,
                sum(stayed) over (partition by {{ by | join(', ') }}) as all_stayed
            from (
                select
                    {{ by | join(', ') }},
                    predicted_by,
                    cast(sum(churned) as double precision) as churned,
                    cast(sum(stayed) as double precision) as stayed
                from {{ outcomes }} as outcomes
                group by {{ by | join(', ') }}, predicted_by
            ) as tallied
        ) as ranked
        group by {{ by | join(', ') }}
    )
{%- endmacro %}

{#
    How often a customer is drawn in a replicate of the bootstrap: Poisson with mean 1, the same in every build and on
    every engine. Two whole numbers are mixed by squaring modulo a prime, which no straight line undoes.
#}
{% macro times_drawn(number, replicate) -%}
    {%- set prime = 2147483647 -%}
    {%- set first = 'mod(cast(' ~ number ~ ' as bigint) * 48271 + cast(' ~ replicate ~ ' as bigint) * 69621 + 11, ' ~ prime ~ ')' -%}
    {%- set second = 'mod(mod(' ~ first ~ ' * ' ~ first ~ ', ' ~ prime ~ ') * 16807 + cast(' ~ replicate ~ ' as bigint) * 40692 + 7, ' ~ prime ~ ')' -%}
    {%- set third = 'mod(mod(' ~ second ~ ' * ' ~ second ~ ', ' ~ prime ~ ') * 48271 + 5, ' ~ prime ~ ')' -%}
    {%- set share = '(mod(' ~ third ~ ' * ' ~ third ~ ', ' ~ prime ~ ') / cast(' ~ prime ~ ' as double precision))' -%}
    case
        when {{ share }} < 0.36788 then 0
        when {{ share }} < 0.73576 then 1
        when {{ share }} < 0.91970 then 2
        when {{ share }} < 0.98101 then 3
        when {{ share }} < 0.99634 then 4
        when {{ share }} < 0.99941 then 5
        else 6
    end
{%- endmacro %}
