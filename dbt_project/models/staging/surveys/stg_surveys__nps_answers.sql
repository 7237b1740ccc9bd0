with

source as (

    select
        *,
        {{ load_rank('id', '_landed_at') }} as load_rank
    from {{ landed('surveys', 'nps_answers', ['id', 'email', 'score', 'comment', 'answered_at'], optional=true) }}

),

renamed as (

    select
        ---------- ids
        id as nps_answer_id,
        ---------- attributes
        {{ normalised_email('email') }} as email,
        -- an answer off the scale is no answer
        case when {{ whole_number('score') }} between 0 and 10 then {{ whole_number('score') }} end as score,
        comment as answer_comment,
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
