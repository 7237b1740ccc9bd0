{#
    A measure over the answers to one survey: the mean of each contact's latest answer, and how old the latest of them
    is. An answer counts until the same contact gives another.
#}
{% macro survey_measure(survey) -%}
    {%- set latest_of_a_day -%}
        (
            select
                ranked.*,
                lead(answered_date) over (
                    partition by coalesce(contact_id, answer_id)
                    order by answered_date
                ) as next_answered_date
            from (
                select
                    answers.*,
                    row_number() over (
                        partition by coalesce(contact_id, answer_id), answered_date
                        order by answered_at desc, answer_id desc, answer
                    ) as recency
                from {{ ref('int_survey_answers__attributed') }} as answers
                where survey = '{{ survey }}'
            ) as ranked
            where recency = 1
        )
    {%- endset -%}
    {%- set changes -%}
        (
            select
                customer_id,
                answered_date as on_date,
                1 as answers,
                cast(answer as decimal(18, 6)) as answer,
                answered_date
            from {{ latest_of_a_day }} as came

            union all

            select
                customer_id,
                next_answered_date as on_date,
                -1 as answers,
                cast(-1 * answer as decimal(18, 6)) as answer,
                cast(null as date) as answered_date
            from {{ latest_of_a_day }} as went
            where next_answered_date is not null
        )
    {%- endset -%}
with

totals as (

    select * from {{ running_totals(changes, ['answers', 'answer'], latest=['answered_date']) }} as running

),

final as (

    select
        customer_id,
        as_of_date,
        cast({{ ratio('answer', 'answers') }} as double precision) as raw_value,
        {{ days_between('answered_date', 'as_of_date') }} as age_days
    from totals
    where answers > 0

)

select * from final
{%- endmacro %}
