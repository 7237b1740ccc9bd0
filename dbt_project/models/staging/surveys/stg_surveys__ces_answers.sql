with

source as (

    select
        *,
        {{ load_rank('id', '_landed_at') }} as load_rank
    from {{ landed('surveys', 'ces_answers', [
        'id',
        'email',
        'score',
        'scale_min',
        'scale_max',
        'higher_is_better',
        'answered_at',
    ], optional=true) }}

),

renamed as (

    select
        ---------- ids
        id as answer_id,
        ---------- attributes
        {{ normalised_email('email') }} as email,
        -- an answer off its scale is no answer
        case
            when {{ whole_number('score') }} between {{ whole_number('scale_min') }} and {{ whole_number('scale_max') }}
                then {{ whole_number('score') }}
        end as score,
        {{ whole_number('scale_min') }} as scale_min,
        {{ whole_number('scale_max') }} as scale_max,
        coalesce({{ true_or_false('higher_is_better') }}, true) as higher_is_better,
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
