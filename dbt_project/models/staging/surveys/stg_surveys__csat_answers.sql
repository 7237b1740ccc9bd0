with

source as (

    select
        *,
        {{ load_rank('id', '_landed_at') }} as load_rank
    from {{ landed('surveys', 'csat_answers', [
        'id', 'ticket_id', 'email', 'score', 'scale_min', 'scale_max', 'answered_at',
    ], optional=true) }}

),

renamed as (

    select
        ---------- ids
        id as csat_answer_id,
        cast(ticket_id as {{ dbt.type_string() }}) as ticket_id,
        ---------- attributes
        {{ normalised_email('email') }} as email,
        -- an answer off its scale is no answer
        case
            when {{ whole_number('score') }} between {{ whole_number('scale_min') }} and {{ whole_number('scale_max') }}
                then {{ whole_number('score') }}
        end as score,
        {{ whole_number('scale_min') }} as scale_min,
        {{ whole_number('scale_max') }} as scale_max,
        ---------- timestamps
        {{ utc_timestamp('answered_at') }} as answered_at,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and id is not null

),

known as (

    select *
    from renamed
    where answered_at <= {{ as_of_at() }}

)

select * from known
